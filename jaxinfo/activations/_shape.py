"""The monotone pieces of an elementwise function that came without a description."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._core import public, values_now
from ._activation import Activation, Piece
from ._formula import formula_of, in_double

_CORE = 32.0  # where most functions turn, if they do
_FAR = 1e30  # as good as infinity
_CHUNK = 2**12  # points at a time
_SPLITS = 8  # parts of a cell that is looked into
_MOST_CELLS = 2**13  # to be looked into at once
_MOST_MARKS = 2**10  # changes of one mark
_MOST = 2**12  # pieces

Reach = tuple[float, float]
Floats = np.ndarray


@public
def with_pieces(
    activation: Activation, reach: Reach | None = None, dtype: Any = jnp.float32
) -> Activation:
    r"""The activation with knots found by looking, in double precision.

    The function, its slope, and every number that its program compares, rounds or takes the sign of on
    the way are followed over a grid; a cell of the grid in which one of them changes, or over which the
    values and the slopes do not fit together, is divided until it is as narrow as rounding. So jumps,
    kinks, poles, plateaus of any height, turning points and stretches of NaN are found, and bumps
    however narrow where something in the program changes sign. What is smooth all over, and nowhere
    marked, may be missed if it is narrower than 1/256 (or 1/8000 of `reach`).
    Without `reach` the whole line is described; with `reach`, only that interval is, so that functions
    without end of turning points (a sine) can be described too. Values of plateaus are those that the
    function has in `dtype`. What has knots is returned as it is.

    **Raises:** `ValueError` for a function with too many pieces, such as a sine without `reach`.

    >>> import jax.numpy as jnp
    >>> from jaxinfo.activations import as_activation
    >>> with_pieces(as_activation(lambda x: jnp.abs(x - 1))).turning_points
    (1.0,)
    """
    return activation if activation.knots else _scanned(activation, reach, np.dtype(dtype))


@functools.lru_cache(maxsize=128)
def _scanned(activation: Activation, reach: Reach | None, dtype: np.dtype) -> Activation:
    samples = _refined(_sampler(activation.fn), _grid(reach))
    pieces = None if samples is None else _pieces(samples)
    if pieces is None or len(pieces) > _MOST:
        raise ValueError(
            f"Activation {activation.name!r} turns without end, or too often to list its monotone "
            "pieces. Outside `jit`, with weights that are known, only what they can reach is looked "
            "at; or describe it with `Activation.through(name, fn, *knots)`, or measure with "
            "`Sampling()` or `Soft()`."
        )
    pieces = _as_computed(activation, pieces, dtype)
    if reach is None:
        at_start, at_stop = _limit(pieces[0].at_start), _limit(pieces[-1].at_stop)
        pieces[0] = dataclasses.replace(pieces[0], start=-math.inf, at_start=at_start)
        pieces[-1] = dataclasses.replace(pieces[-1], stop=math.inf, at_stop=at_stop)
    else:
        # Never reached, so it does not matter what is there.
        pieces.insert(0, _plateau(-math.inf, pieces[0].start, pieces[0].at_start))
        pieces.append(_plateau(pieces[-1].stop, math.inf, pieces[-1].at_stop))
    knots: list[tuple[float, float]] = []
    for piece in pieces:
        if not knots or piece.at_start != knots[-1][1]:
            knots.append((piece.start, piece.at_start))
        knots.append((piece.stop, piece.at_stop))
    known = [y for _, y in knots if not math.isnan(y)] or [math.nan]
    return dataclasses.replace(
        activation, lower=min(known), upper=max(known), knots=tuple(knots), inverse=None
    )


def _grid(reach: Reach | None) -> Floats:
    start, stop = (-_FAR, _FAR) if reach is None else reach
    far = max(abs(start), abs(stop))
    # Off the round numbers, where functions have poles and kinks.
    core = np.linspace(-_CORE, _CORE, 2**14 + 1) + 1e-3 / math.pi
    steps = np.geomspace(1e-6, far, 40 * max(1, round(math.log10(far * 1e6))))
    parts = [core, steps, -steps]
    if reach is not None:
        parts.append(np.linspace(start, stop, 2**13 + 1))
    x = np.unique(np.concatenate(parts))
    return x[(x >= start) & (x <= stop)]


class _Samples:
    """Points in order, and at each the function, its slope, and what marks a change."""

    def __init__(self, x: Floats, y: Floats, slope: Floats, marks: Floats):
        self.x, self.y, self.slope, self.marks = x, y, slope, marks

    def busy(self) -> Floats:
        """The cells in which something happens."""
        return self._breaks() | self._turns()

    def unclear(self) -> Floats:
        """The busy cells that are not yet as narrow as rounding, in `x` or in what a turn can show."""
        x = abs(self.x)
        span = self.x[-1] - self.x[0]
        wide = np.diff(self.x) > 4e-16 * np.maximum(x[1:], x[:-1]) + 1e-18 * min(span, 1.0)
        with np.errstate(all="ignore"):
            shown = np.diff(self.x) * self._steepest() > 2e-16 * abs(self.y[1:])
        return wide & (self._breaks() | self._turns() & shown)

    def _turns(self) -> Floats:
        signs = np.nan_to_num(np.sign(self.slope), nan=2)
        return signs[1:] != signs[:-1]

    def _breaks(self) -> Floats:
        """Where the program goes another way, or values and slopes do not fit together."""
        with np.errstate(all="ignore"):
            changes = np.any(self.marks[:, 1:] != self.marks[:, :-1], axis=0)
            width = np.diff(self.x)
            # As if the slope only rose or only fell, or nearly so.
            usual = width * (abs(np.diff(self.slope)) + 1e-2 * self._steepest())
            off = abs(np.diff(self.y) - width * (self.slope[1:] + self.slope[:-1]) / 2)
        return changes | (off > usual + 1e4 * self.noise[1:])

    def _steepest(self) -> Floats:
        return np.maximum(abs(self.slope[1:]), abs(self.slope[:-1]))

    @functools.cached_property
    def noise(self) -> Floats:
        """Differences of values that may be rounding."""
        with np.errstate(all="ignore"):
            return 1e-13 * (min(1.0, np.nanmax(abs(self.y), initial=0)) + abs(self.y))

    def without_restless_marks(self) -> "_Samples":
        """Without marks that change all over, which say nothing of where to look."""
        with np.errstate(all="ignore"):
            restless = np.sum(self.marks[:, 1:] != self.marks[:, :-1], axis=1) > _MOST_MARKS
        restless[0] = False  # that of the function itself
        return _Samples(self.x, self.y, self.slope, self.marks[~restless])

    def joined(self, other: "_Samples") -> "_Samples":
        x, first = np.unique(np.concatenate([self.x, other.x]), return_index=True)
        y, slope = (
            np.concatenate([a, b])[first] for a, b in ((self.y, other.y), (self.slope, other.slope))
        )
        return _Samples(x, y, slope, np.concatenate([self.marks, other.marks], axis=1)[:, first])


def _refined(sample: Callable[[Floats], _Samples], x: Floats) -> _Samples | None:
    """Samples of which each cell is quiet or as narrow as rounding; `None` if that does not end."""
    found = sample(x)
    kept = found.without_restless_marks()
    while np.any(cells := kept.unclear()):
        (cells,) = np.nonzero(cells)
        if len(cells) > _MOST_CELLS:
            return None
        left, right = kept.x[cells], kept.x[cells + 1]
        parts = (np.arange(1, _SPLITS) - 0.0129) / _SPLITS
        found = found.joined(sample((left + (right - left) * parts[:, None]).ravel()))
        kept = found.without_restless_marks()
    return kept


def _sampler(fn: Callable[[Array], Array]) -> Callable[[Floats], _Samples]:
    """A function from points to samples: compiled once, in double precision."""
    with in_double():
        # Numbers in it, such as the root of 2, as they are in double precision.
        formula = formula_of(fn, jnp.float64)

    def traced(x: Array) -> tuple[Array, tuple[Array, ...]]:
        return (fn(x).astype(x.dtype), ()) if formula is None else formula(x)

    @jax.jit
    def compiled(x: Array) -> tuple[Array, Array, Array]:
        y, slope, marks = jax.jvp(traced, (x,), (jnp.ones_like(x),), has_aux=True)
        return y, slope, jnp.stack([jnp.isnan(y).astype(x.dtype), *marks])

    def sample(x: Floats) -> _Samples:
        chunks = np.pad(x, (0, -len(x) % _CHUNK), mode="edge").reshape(-1, _CHUNK)
        with in_double():
            found = [jax.tree.map(np.asarray, compiled(jnp.asarray(c))) for c in chunks]
        y, slope, marks = (
            np.concatenate(z, axis=-1)[..., : len(x)] for z in zip(*found, strict=True)
        )
        # Differences of infinities would be NaN.
        return _Samples(x, np.clip(y, -1e300, 1e300), np.clip(slope, -1e300, 1e300), marks)

    return sample


def _plateau(start: float, stop: float, level: float) -> Piece:
    return Piece(start, stop, level, level)


def _pieces(samples: _Samples) -> list[Piece]:
    """The monotone stretches between the narrow cells in which something happens."""
    x, y, slope, noise = samples.x, samples.y, samples.slope, samples.noise
    quiet = np.concatenate([[False], ~samples.busy(), [False]])
    (ends,) = np.nonzero(quiet[1:] != quiet[:-1])
    found: list[_Stretch] = []
    for i, j in ends.reshape(-1, 2).tolist():
        with np.errstate(all="ignore"):
            rise = y[j] - y[i]
            flat = not np.any(slope[i : j + 1]) and np.all(y[i : j + 1] == y[i])
        if np.isnan(rise):
            direction = math.nan
        else:
            direction = float(np.sign(rise)) if flat or abs(rise) > noise[j] else None
        new = _Stretch(x[i], x[j], y[i], y[j], direction)
        if found:
            last = found[-1]
            last.stop = new.start = _roundest(last.stop, new.start)
            if abs(new.at_start - last.at_stop) <= 1e4 * noise[i]:
                # What moves has come within rounding of the level of a plateau.
                if new.direction == 0 and last.direction != 0:
                    last.at_stop = new.at_start
                else:
                    new.at_start = last.at_stop
            if last.goes_on_as(new):
                last.take(new)
                continue
        found.append(new)
    return [stretch.piece() for stretch in found]


def _roundest(low: float, high: float) -> float:
    """The number of fewest digits from `low` to `high`: what people write."""
    if low <= 0 <= high:
        return 0.0
    return next(x for d in range(17) if low <= (x := float(f"{high:.{d}e}")) <= high)


@dataclasses.dataclass
class _Stretch:
    """A piece that may still grow; of no direction where it rises or falls by no more than rounding."""

    start: float
    stop: float
    at_start: float
    at_stop: float
    direction: float | None

    def goes_on_as(self, other: "_Stretch") -> bool:
        if self.at_stop != other.at_start:
            return self.direction != self.direction and other.direction != other.direction
        return self.direction == other.direction or None in (self.direction, other.direction)

    def take(self, other: "_Stretch") -> None:
        self.stop = other.stop
        if self.direction is None:
            self.direction = other.direction
        if other.direction is not None:
            self.at_stop = other.at_stop

    def piece(self) -> Piece:
        at_stop = self.at_stop if self.direction else self.at_start
        return Piece(*map(float, (self.start, self.stop, self.at_start, at_stop)))


def _as_computed(activation: Activation, pieces: list[Piece], dtype: np.dtype) -> list[Piece]:
    """The pieces, plateaus at the values that the function has in a floating type."""
    flat = [i for i, piece in enumerate(pieces) if piece.at_start == piece.at_stop]
    middles = np.resize([(pieces[i].start / 2 + pieces[i].stop / 2) for i in flat] or [0.0], _MOST)
    values = np.asarray(values_now(activation.fn, middles.astype(dtype)), np.float64)
    pieces = list(pieces)
    for i, value in zip(flat, values, strict=False):
        if np.isclose(value, pieces[i].at_start, rtol=1e-4, atol=1e-7):
            pieces[i] = _plateau(pieces[i].start, pieces[i].stop, float(value))
    return pieces


def _limit(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) > 1e10 else value
