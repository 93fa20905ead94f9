"""What is known of an elementwise function."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._core import as_inexact, nan_where, public

Elementwise = Callable[[Array], Array]


@dataclasses.dataclass(frozen=True)
class Piece:
    """A stretch of the line on which an activation is monotone and smooth.

    It runs from `start` to `stop` (either may be infinite); `at_start` and `at_stop` are the limits
    of the function at the two ends, taken from inside.
    """

    start: float
    stop: float
    at_start: float
    at_stop: float

    @property
    def direction(self) -> int:
        """1 where the function rises, -1 where it falls, 0 where it is constant."""
        return (self.at_stop > self.at_start) - (self.at_stop < self.at_start)


@public
@dataclasses.dataclass(frozen=True)
class Activation:
    r"""An elementwise function, its closed range and its shape; call it like the function.

    **Fields:**

    - `lower`, `upper`: infimum and supremum over the real line (infinite where there is none).
    - `knots`: points $(x, f(x))$ from $x = -\infty$ to $\infty$, limits included, between which
        the function is smooth and monotone. Two knots at the same $x$ are a jump. Empty where the
        shape is not known (and for a sine, which has no end of turning points).
    - `inverse`: the inverse on the open range of values that are not held constant on a stretch,
        or `None` where there is none in closed form. Outside that range it is undefined.
    - `surrogate`: the documented derivative where it is not that of `fn` (straight-through).

    ReLU has the knots $(-\infty, 0), (0, 0), (\infty, \infty)$: a constant piece, which puts an
    atom at 0, and a rising one.

    >>> from jaxinfo.activations import ACTIVATIONS
    >>> ACTIVATIONS["relu"].pieces[0]
    Piece(start=-inf, stop=0.0, at_start=0.0, at_stop=0.0)
    >>> ACTIVATIONS["hard_tanh"].breakpoints, ACTIVATIONS["hard_silu"].turning_points
    ((-1.0, 1.0), (-1.5,))
    >>> ACTIVATIONS["relu6"].atoms
    ((0.0, -inf, 0.0), (6.0, 6.0, inf))
    """

    name: str
    fn: Elementwise
    lower: float = -math.inf
    upper: float = math.inf
    knots: tuple[tuple[float, float], ...] = ()
    inverse: Elementwise | None = None
    surrogate: Elementwise | None = None

    @classmethod
    @public
    def through(
        cls,
        name: str,
        fn: Elementwise,
        *knots: tuple[float | int, float | int],
        inverse: Elementwise | None = None,
        surrogate: Elementwise | None = None,
    ) -> "Activation":
        """The activation with these knots; its range follows from them.

        **Raises:** `ValueError` if the knots do not run from minus to plus infinity in order.
        """
        places = [x for x, _ in knots]
        if (
            len(knots) < 2
            or places != sorted(places)
            or places[:: len(places) - 1] != [-math.inf, math.inf]
        ):
            raise ValueError(
                f"The knots of activation {name!r} must run from x = -inf to x = inf in order; "
                f"got x = {places}."
            )
        values = [float(y) for _, y in knots]
        points = tuple((float(x), float(y)) for x, y in knots)
        return cls(name, fn, min(values), max(values), points, inverse, surrogate)

    @public
    def __call__(self, x: ArrayLike) -> Array:
        return self.fn(jnp.asarray(x))

    def __repr__(self) -> str:
        return self.name

    @public
    def derivative(self, x: ArrayLike) -> Array:
        """$f'(x)$ elementwise, as `jax.grad` gives it; the surrogate where there is one."""
        x = jnp.asarray(x)
        return derivative(self.fn, x) if self.surrogate is None else self.surrogate(x)

    @property
    def default_range(self) -> tuple[float, float]:
        """The range over which EI is measured unless told otherwise.

        The function's own bounds, with 10 in place of infinity: sigmoid (0, 1), tanh (-1, 1), ReLU
        (0, 10), identity (-10, 10).
        """
        return max(self.lower, -10.0), min(self.upper, 10.0)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The monotone pieces from left to right, constant ones included; empty if unknown."""
        pairs = zip(self.knots, self.knots[1:], strict=False)
        return tuple(Piece(x, x2, y, y2) for (x, y), (x2, y2) in pairs if x < x2)

    @property
    def breakpoints(self) -> tuple[float, ...]:
        """Where two pieces meet: kinks, jumps, turning points."""
        return tuple(piece.start for piece in self.pieces[1:])

    @property
    def turning_points(self) -> tuple[float, ...]:
        """Where a rising function begins to fall or the reverse; empty for a monotone one.

        The end of a constant piece in between is not counted twice: the point is where the new
        direction begins.
        """
        moving = [piece for piece in self.pieces if piece.direction]
        pairs = zip(moving, moving[1:], strict=False)
        return tuple(b.start for a, b in pairs if a.direction != b.direction)

    @property
    def atoms(self) -> tuple[tuple[float, float, float], ...]:
        """Where the function is constant: `(value, start, stop)` of each such piece."""
        return tuple((p.at_start, p.start, p.stop) for p in self.pieces if not p.direction)

    @public
    def preimages(
        self, y: Float[Array, "*shape"], *, strict: bool | Bool[Array, "*#shape"] = False
    ) -> tuple[Float[Array, "*shape"], ...]:
        r"""For each piece, the point up to which (or from which) the function is at most `y`.

        On piece $k$, $\{z : f(z) \le y\}$ is $[\text{start}_k, x_k]$ if it rises or is constant,
        and $[x_k, \text{stop}_k]$ if it falls. So for a continuous $Z$ with distribution function
        $F$,

        $$P(f(Z) \le y) = \sum_{k\ \text{rising or constant}} F(x_k) - F(\text{start}_k)
        + \sum_{k\ \text{falling}} F(\text{stop}_k) - F(x_k).$$

        Where `strict`, the same for $f(z) < y$; the two differ on constant pieces only, by the atom.
        Infinite where the answer is. The gradient with respect to `y` is $1 / f'(x_k)$ inside the
        range of the piece, and 0 where the answer is an end of it.

        By `inverse` where there is one, else by bisection to the precision of `y`'s dtype.

        **Raises:** `ValueError` if the shape of the function is not known.

        >>> import jax.numpy as jnp
        >>> from jaxinfo.activations import ACTIVATIONS
        >>> ACTIVATIONS["relu"].preimages(jnp.array([-1.0, 0.0, 2.0]))
        (Array([-inf,   0.,   0.], dtype=float32), Array([0., 0., 2.], dtype=float32))
        """
        if not self.knots:
            raise ValueError(
                f"The monotone pieces of activation {self.name!r} are not known, so it cannot be "
                "inverted. Describe it with `Activation.through(name, fn, *knots)`, or measure by "
                "sampling."
            )
        return tuple(nan_where(jnp.isnan(y), self._preimages(y, strict)))

    def _preimages(self, y: Array, strict: bool | Array) -> Float[Array, "pieces ..."]:
        """All pieces at once, along a first axis."""

        def along(values: list[float | int]) -> Array:
            return jnp.asarray(np.array(values).reshape(-1, *[1] * y.ndim), y.dtype)

        pieces = self.pieces
        start, stop = along([p.start for p in pieces]), along([p.stop for p in pieces])
        at_start, at_stop = along([p.at_start for p in pieces]), along([p.at_stop for p in pieces])
        # Not by values in the precision of `y`, in which a flat tail has one value.
        direction = along([p.direction for p in pieces])
        rising, constant = direction > 0, direction == 0
        low, high = jnp.minimum(at_start, at_stop), jnp.maximum(at_start, at_stop)
        inside = (y > low) & (y < high)
        # A level that is safe to invert stands in for those beyond the piece.
        levels = jnp.where(inside, y, _between(low, high))
        if self.inverse is None:
            found = self._bisect(levels, start, stop, rising)
        else:
            found = self.inverse(levels)
        beyond = jnp.where(rising, y <= low, y >= high)
        moving = jnp.where(inside, found, jnp.where(beyond, start, stop))
        reached = jnp.where(strict, y > at_start, y >= at_start)
        return jnp.where(constant, jnp.where(reached, stop, start), moving)

    def _bisect(self, y: Array, start: Array, stop: Array, rising: Array) -> Array:
        level = jax.lax.stop_gradient(y)

        def before(x: Array) -> Array:
            """Whether `x` lies before the crossing."""
            value = self.fn(x)
            return jnp.where(rising, value < level, value > level)

        def gallop(i: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            lower, upper = ends
            reach = jnp.exp2(i.astype(y.dtype))
            down, up = jnp.isinf(start) & ~before(lower), jnp.isinf(stop) & before(upper)
            return jnp.where(down, upper - reach, lower), jnp.where(up, lower + reach, upper)

        def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            middle = ends[0] + (ends[1] - ends[0]) / 2
            below = before(middle)
            return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

        origin = _between(start, stop)
        ends = jnp.where(jnp.isinf(start), origin, start), jnp.where(jnp.isinf(stop), origin, stop)
        ends = tuple(jnp.broadcast_to(x, level.shape) for x in ends)
        if any(p.direction and math.isinf(p.stop - p.start) for p in self.pieces):
            ends = jax.lax.fori_loop(0, 64, gallop, ends)
        lower, upper = jax.lax.fori_loop(0, jnp.finfo(y.dtype).nmant + 40, halve, ends)
        x = lower + (upper - lower) / 2
        slope = jax.lax.stop_gradient(derivative(self.fn, x))
        # Adds nothing to the value, and the derivative of the inverse function to the gradient.
        moves = jnp.isfinite(slope) & (slope != 0)
        return x + jnp.where(moves, (y - level) / jnp.where(moves, slope, 1), 0)


@public
def derivative(fn: Elementwise, x: ArrayLike) -> Array:
    """The derivative of an elementwise function at each entry of `x`, as `jax.grad` gives it.

    0 where its values are whole numbers or truth values; NaN at NaN.
    """
    x = as_inexact(x)
    slope = jax.jvp(lambda x: as_inexact(fn(x)), (x,), (jnp.ones_like(x),))[1]
    return nan_where(jnp.isnan(x), slope)


def _between(low: Array, high: Array) -> Array:
    """A finite number strictly between the two."""
    bounded = jnp.where(jnp.isfinite(low), low, jnp.where(jnp.isfinite(high), high - 2, -1.0))
    above = jnp.where(jnp.isfinite(high), high, bounded + 2)
    return bounded + (above - bounded) / 2
