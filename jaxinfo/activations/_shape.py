"""The monotone pieces of an elementwise function that came without a description."""

import contextlib
import dataclasses
import functools
import importlib
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from .._core import public
from ._activation import Activation, Elementwise

_CORE = 32.0  # where a function may turn freely; further out it must have settled
_FAR = 1e4
_MOST = 512  # pieces

Knot = tuple[float, float]


@public
def with_pieces(activation: Activation, reach: tuple[float, float] | None = None) -> Activation:
    r"""The activation with knots found by looking: a dense scan, then bisection.

    Jumps, kinks, plateaus, turning points and stretches of NaN are found where the values, in double
    precision, show them: features narrower than about 1/256 (or 1/30 000 of `reach`) may be missed.
    Without `reach` the whole line is described: the function may turn inside [-32, 32] and must be
    monotone further out. With `reach`, only that interval is, so that functions without end of
    turning points (a sine) can be described too. What has knots is returned as it is.

    **Raises:** `ValueError` for a function that turns further out and no `reach`, and for one with
    more than 512 pieces.

    >>> import jax.numpy as jnp
    >>> from jaxinfo.activations import as_activation
    >>> with_pieces(as_activation(lambda x: jnp.abs(x - 1))).turning_points
    (1.0,)
    """
    return activation if activation.knots else _scanned(activation, reach)


@functools.lru_cache(maxsize=128)
def _scanned(activation: Activation, reach: tuple[float, float] | None) -> Activation:
    values = _in_double(activation.fn)
    if reach is None:
        far = np.geomspace(_CORE, _FAR, 400)[1:]
        # Off the round numbers, where functions have poles and kinks.
        core = np.linspace(-_CORE, _CORE, 2**14 + 1) + 1e-3 / math.pi
        x = np.concatenate([-far[::-1], core, far])
    else:
        x = np.linspace(*reach, 2**15 + 1)
    places = _Scan(values, x).knots()
    if len(places) > _MOST or (reach is None and _turns_far_out(places)):
        raise ValueError(
            f"Activation {activation.name!r} turns without end, or too often to list its monotone "
            f"pieces ({len(places)} found). Outside `jit`, with weights that are known, only what "
            "they can reach is looked at; or describe it with `Activation.through(name, fn, "
            "*knots)`, or measure with `Sampling()` or `Soft()`."
        )
    if reach is None:
        ends = tuple(_limit(values, side, places[i]) for side, i in ((-1, 0), (1, -1)))
        places = [ends[0], *places[1:-1], ends[1]]
    else:
        # Never reached, so it does not matter what is there.
        places = [(-math.inf, places[0][1]), *places, (math.inf, places[-1][1])]
    known = [y for _, y in places if not math.isnan(y)]
    return dataclasses.replace(
        activation, lower=min(known), upper=max(known), knots=tuple(places), inverse=None
    )


def _turns_far_out(places: list[Knot]) -> bool:
    rises = [(a, np.sign(z - y)) for (a, y), (b, z) in zip(places, places[1:], strict=False)]
    moving = [(a, sign) for a, sign in rises if sign]
    return any(
        abs(a) > _CORE + 1 and sign != before
        for (_, before), (a, sign) in zip(moving, moving[1:], strict=False)
    )


def _in_double(fn: Elementwise) -> Callable[[np.ndarray], np.ndarray]:
    compiled = jax.jit(fn)

    def values(x: np.ndarray) -> np.ndarray:
        with _double(), jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
            found = np.asarray(compiled(jnp.asarray(x, jnp.float64)), np.float64)
        return np.clip(found, -1e300, 1e300)  # differences of infinities would be NaN

    return values


@contextlib.contextmanager
def _double() -> Iterator[None]:
    """Double precision for what is computed inside, whatever the setting outside."""
    # A name of its own since JAX 0.8; before, under `experimental`.
    if hasattr(jax, "enable_x64"):
        context = jax.enable_x64
    else:
        context = importlib.import_module("jax.experimental").enable_x64
    with context(True):
        yield


def _limit(values: Callable[[np.ndarray], np.ndarray], side: int, last: Knot) -> Knot:
    """Where the function tends to: what it does up to 1e30, and infinity if it passes 1e10."""
    far = values(side * np.array([1e5, 1e8, 1e12, 1e30]))
    far = far[~np.isnan(far)]
    value = float(far[-1]) if len(far) and not math.isnan(last[1]) else last[1]
    return side * math.inf, math.copysign(math.inf, value) if abs(value) > 1e10 else value


class _Scan:
    """Values on a grid, and the places between grid points where the behaviour changes."""

    def __init__(self, values: Callable[[np.ndarray], np.ndarray], x: np.ndarray):
        self.values, self.x, self.y = values, x, values(x)

    def knots(self) -> list[Knot]:
        """The knots from the first grid point to the last."""
        x, y = self.x, self.y
        with np.errstate(all="ignore"):
            step = np.diff(y)
            scale = min(1.0, np.nanmax(np.abs(y), initial=0))
            noise = 1e-13 * (scale + np.abs(y[1:]))
        kind = np.where(np.abs(step) > noise, np.sign(step), 0.0)
        kind = np.where(np.isnan(kind), 9.0, kind)
        kind[np.isnan(y[1:]) | np.isnan(y[:-1])] = 9.0
        self._smooth_over(kind, step)
        jumps = set(np.flatnonzero(self._jumps(step, kind)).tolist())
        changed = np.flatnonzero(kind[1:] != kind[:-1]) + 1
        changes = [i for i in changed.tolist() if not jumps & {i - 1, i}]
        turns = self._turns([i for i in changes if kind[i] == -kind[i - 1]], kind)
        found: list[Knot] = [(float(x[0]), float(y[0]))]
        for i in sorted([*jumps, *changes]):
            if i in jumps:
                found += self._jump(i)
            else:
                found += [turns[i]] if i in turns else self._change(i, kind)
        return [*found, (float(x[-1]), float(y[-1]))]

    def _smooth_over(self, kind: np.ndarray, step: np.ndarray) -> None:
        """Steps too small to judge go on as before; only equality to the last bit is a plateau."""
        flat = np.concatenate([[False] * 3, step == 0, [False] * 3])
        # A run of four at least.
        runs = [flat[i : i + len(step) + 3] for i in range(4)]
        starts = np.logical_and.reduce(runs)
        plateau = np.logical_or.reduce([starts[i : i + len(step)] for i in range(4)])
        unsure = np.flatnonzero((kind == 0) & ~plateau)
        for i in unsure:
            kind[i] = kind[i - 1] if i else 0
        for i in unsure[::-1]:
            if kind[i] == 0 and i + 1 < len(kind):
                kind[i] = kind[i + 1]

    def _jumps(self, step: np.ndarray, kind: np.ndarray) -> np.ndarray:
        """Steps that stand out, and stay however finely one looks."""
        with np.errstate(all="ignore"):
            size = np.where(kind == 9, 0, np.abs(step))
            around = np.maximum(np.concatenate([[0], size[:-1]]), np.concatenate([size[1:], [0]]))
            before, after = np.roll(kind, 1), np.roll(kind, -1)
        alone = (kind != before) & (before == after) & (size > 0)
        outstanding = np.flatnonzero(((size > 4 * around) | alone) & (size > 1e-9))
        left, right = self._bisected(outstanding, self._larger)
        jumps = np.zeros(len(step), bool)
        with np.errstate(all="ignore"):
            rest = np.abs(self.values(right) - self.values(left))
        jumps[outstanding] = ~(rest <= 1e-3 * size[outstanding])
        return jumps

    def _jump(self, i: int) -> list[Knot]:
        left, right = self._bisected(np.array([i]), self._larger)
        a, b = (float(self.values(end)[0]) for end in (left, right))
        return [(float(right[0]), a), (float(right[0]), b)]

    def _change(self, i: int, kind: np.ndarray) -> list[Knot]:
        """The knot near grid point `i`, where the behaviour of cell `i - 1` ends."""
        before, after = kind[i - 1], kind[i]
        x, y = self.x, self.y
        left, right = x[i - 1 : i].copy(), x[i + 1 : i + 2].copy()
        if 9 in (before, after):
            # The cell with one end that is NaN belongs to the NaN.
            cell = i - 1 if before == 9 else i
            left, right = x[cell : cell + 1].copy(), x[cell + 1 : cell + 2].copy()
            left, right = self._bisect(
                left, right, lambda m: np.isnan(self.values(m)) == (before == 9)
            )
            known = float(self.values(left if after == 9 else right)[0])
            pair = (math.nan, known) if before == 9 else (known, math.nan)
            return [(float(right[0]), value) for value in pair]
        level = y[i]
        left, right = self._bisect(
            left, right, lambda m: (self.values(m) == level) == (before == 0)
        )
        return [(float(right[0]) if before else float(left[0]), float(level))]

    def _turns(self, at: list[int], kind: np.ndarray) -> dict[int, Knot]:
        """The turning points near these grid points, all at once: there may be hundreds."""
        if not at:
            return {}
        cells = np.array(at)
        left, right, rose = self.x[cells - 1], self.x[cells + 1], kind[cells - 1] > 0
        # Halve by the sign of a slope over a shrinking step, until rounding stops it.
        for _ in range(200):
            a, b = left + (right - left) / 3, right - (right - left) / 3
            keep = (self.values(b) - self.values(a) > 0) == rose
            last = left, right
            left, right = np.where(keep, a, left), np.where(keep, right, b)
            if np.array_equal(last, (left, right)):
                break
        turns = (left + right) / 2
        return dict(
            zip(at, zip(turns.tolist(), self.values(turns).tolist(), strict=True), strict=True)
        )

    def _larger(self, left: np.ndarray, middle: np.ndarray, right: np.ndarray) -> np.ndarray:
        a, b, c = (self.values(z) for z in (left, middle, right))
        with np.errstate(all="ignore"):
            return ~(np.abs(b - a) > np.abs(c - b))

    def _bisected(
        self, cells: np.ndarray, go_right: Callable[..., np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        left, right = self.x[cells].copy(), self.x[cells + 1].copy()
        for _ in range(70 if len(cells) else 0):
            # Not the middle, which might be a pole itself.
            middle = left + (right - left) * 0.4871
            on = go_right(left, middle, right)
            left, right = np.where(on, middle, left), np.where(on, right, middle)
        return left, right

    def _bisect(
        self, left: np.ndarray, right: np.ndarray, before: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        for _ in range(70):
            middle = left + (right - left) / 2
            on = before(middle)
            left, right = np.where(on, middle, left), np.where(on, right, middle)
        return left, right
