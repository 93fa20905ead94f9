"""The one binning rule of the package."""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Real

from .._core import as_real, checked, is_traced, power_of_two, public, whole

_MOST_BINS = 2**18


def valid_bins(name: str, bins: Any) -> int:
    """The number of bins that argument `name` gives, or an error that names it."""
    bins = whole(name, bins)
    if not 2 <= bins <= _MOST_BINS:
        raise ValueError(
            f"`{name}` must be at least 2, since one bin holds no bits, and at most {_MOST_BINS}; "
            f"got {bins}."
        )
    return bins


@public
class Binning(eqx.Module):
    r"""`bins` equal intervals over `[lower, upper]`.

    Bin $k$ is $[e_k, e_{k+1})$ with $e_k = l + k (u - l) / \text{bins}$; the last bin is closed at
    both ends, as in `numpy.histogram`. What lies outside `[lower, upper]`, NaN included, has no bin
    and is left out of the joint (`out_of_range="drop"`), or goes into the nearest edge bin
    (`out_of_range="clip"`; NaN still has none). A range of zero width is one point: what equals it
    is in bin 0. In a range of fewer numbers than bins, each bin is as wide as numbers lie apart and
    those at the top are empty, but for the last, which holds the upper bound.

    The rule holds for every number: the index agrees with `edges` to the last bit, in single and
    in double precision, traced or not. Integers are binned as the default floats, which with 64
    bits tell all of them up to $2^{53}$ apart.

    **Arguments:**

    - `bins`: number of bins, from 2 to $2^{18}$, static under `jit`.
    - `lower`, `upper`: the bounds, traced; numbers, or arrays that broadcast against what is binned
        (one range for each neuron).
    - `out_of_range`: `"drop"` or `"clip"`, static.

    **Raises:** `TypeError` for bins that are not a whole number; `ValueError` for fewer than two or
    more than $2^{18}$, and for bounds that are reversed, not finite, or so near to
    each other that a bin would be narrower than the smallest normal number.

    >>> import jax.numpy as jnp
    >>> Binning(4, 0.0, 1.0).index(jnp.array([0.0, 0.25, 0.99, 1.0, 1.1]))
    Array([0, 1, 3, 3, 4], dtype=int32)
    """

    bins: int = eqx.field(static=True)
    lower: Float[Array, "*#neurons"]
    upper: Float[Array, "*#neurons"]
    out_of_range: Literal["drop", "clip"] = eqx.field(static=True)

    def __init__(
        self,
        bins: int,
        lower: Real[ArrayLike, "*#neurons"],
        upper: Real[ArrayLike, "*#neurons"],
        *,
        out_of_range: Literal["drop", "clip"] = "drop",
    ):
        self.bins = valid_bins("bins", bins)
        lower, upper = jnp.asarray(lower, float), jnp.asarray(upper, float)
        known = not (is_traced(lower) or is_traced(upper))
        # JAX takes a subnormal number for 0, NumPy does not.
        low, high = (np.asarray(lower), np.asarray(upper)) if known else (lower, upper)
        least = self.bins * float(jnp.finfo(lower.dtype).tiny)
        apart = (low == high) | (high / 2 - low / 2 >= least / 2)
        finite = jnp.isfinite(low) & jnp.isfinite(high)
        self.lower = checked(
            lower,
            ~jnp.all(finite & (low <= high) & apart),
            "A range must be finite with `lower <= upper`, and its bins no narrower than the "
            f"smallest normal number; got ({_show(lower)}, {_show(upper)}).",
        )
        self.upper = upper
        self.out_of_range = out_of_range

    @property
    def width(self) -> Float[Array, "*#neurons"]:
        """Width of one bin."""
        return self.upper / self.bins - self.lower / self.bins

    @property
    def edges(self) -> Float[Array, "*#neurons edges"]:
        """The `bins + 1` edges, along a last axis; the outer two are exactly the bounds."""
        grid = _Grid.of(self.bins, self.lower[..., None], self.upper[..., None])
        edges = grid.edge(jnp.arange(self.bins + 1, dtype=self.lower.dtype))
        edges = jnp.minimum(edges, self.upper[..., None])
        return edges.at[..., 0].set(self.lower).at[..., -1].set(self.upper)

    @property
    def centres(self) -> Float[Array, "*#neurons bins"]:
        """The middle of each bin, along a last axis."""
        return (self.edges[..., 1:] + self.edges[..., :-1]) / 2

    @public
    def index(self, x: Real[Array, "*batch"]) -> Int[Array, "*batch"]:
        """The bin number of each value, `0 ... bins - 1`, or `bins` for what has no bin.

        Refuses to be differentiated: a bin number is piecewise constant, and a silent zero would
        look like a gradient.
        """
        return _hard_index(self, as_real(x))

    @public
    def soft(
        self,
        x: Real[Array, "*batch"],
        *,
        bandwidth: Real[ArrayLike, ""] = 1.0,
        kernel: Literal["linear", "gaussian"] = "linear",
    ) -> Float[Array, "*batch bins"]:
        r"""How much of each value belongs to each bin: differentiable, along a last axis.

        The value is spread by a kernel, and each bin gets the part that falls into it; the first
        and the last bin get the tails. With edges $e_k$ in units of the bin width $w$,

        $$s_k(x) = K\Big(\frac{e_{k+1} - x}{h w}\Big) - K\Big(\frac{e_k - x}{h w}\Big),
        \qquad K(-\infty) = 0, \; K(\infty) = 1 \text{ at the outer edges},$$

        so the weights of a value inside the range sum to 1 (a partition of unity, at the edges
        too). Outside, with `out_of_range="drop"`, they fade to 0 continuously from the bound
        outwards, over the kernel's width; with `"clip"` they stay in the edge bin. NaN has no
        weight. As $h \to 0$ the weights become those of the hard bins, except for a value that
        sits exactly on an inner edge, which two bins share.

        **Arguments:**

        - `bandwidth`: $h > 0$, in bin widths, traced.
        - `kernel`: `"linear"`: $K$ rises linearly from $-1/2$ to $1/2$, so at $h = 1$ a value is
            shared linearly by the two nearest bin centres; `"gaussian"`: $K$ is the normal
            distribution function, smooth, with $h$ its standard deviation.

        **Raises:** `ValueError` for a bandwidth that is not positive, or another kernel.

        >>> import jax.numpy as jnp
        >>> Binning(4, 0.0, 1.0).soft(jnp.array([0.0, 0.25, 0.3125]))
        Array([[1.  , 0.  , 0.  , 0.  ],
               [0.5 , 0.5 , 0.  , 0.  ],
               [0.25, 0.75, 0.  , 0.  ]], dtype=float32)
        """
        bandwidth = jnp.asarray(bandwidth, float)
        message = f"`bandwidth` must be positive, in bin widths; got {_show(bandwidth)}."
        bandwidth = checked(bandwidth, ~(bandwidth > 0), message)
        cumulative, fade = _KERNELS[kernel]
        x = as_real(x)
        known = ~jnp.isnan(x)
        grid = _Grid.of(self.bins, self.lower.astype(x.dtype), self.upper.astype(x.dtype))
        position = grid.position(jnp.where(known, x, 0))
        # Far outside nothing changes any more, and an infinity would make the gradient NaN.
        position = jnp.clip(position, -self.bins - 1e3, 2 * self.bins + 1e3)
        inner = jnp.arange(1, self.bins, dtype=x.dtype)
        below = cumulative((inner - position[..., None]) / bandwidth)
        end = below[..., :1]
        ends = jnp.zeros_like(end), jnp.ones_like(end)
        below = jnp.concatenate([ends[0], below, ends[1]], axis=-1, dtype=x.dtype)
        kept = known.astype(x.dtype)
        if self.out_of_range == "drop":
            distance = jnp.maximum(jnp.maximum(-position, position - self.bins), 0)
            kept = kept * fade(distance / bandwidth)
        return jnp.diff(below, axis=-1) * kept[..., None]


# For each kernel: its distribution function, and what is left of a value at a distance outside.
_KERNELS = {
    "linear": (lambda z: jnp.clip(z + 0.5, 0, 1), lambda d: jnp.maximum(1 - d, 0)),
    "gaussian": (jax.scipy.special.ndtr, lambda d: jnp.exp(-(d**2) / 2)),
}


class _Grid(NamedTuple):
    r"""The edges as a function of their number: of one value wherever they are computed.

    Compilers contract $a b + c$ into one operation with one rounding, or do not, and divide by a
    constant by its reciprocal, or do not, here one way and there the other. So each product is
    exact: the width of a bin is a sum of `parts` of so few digits that a whole number times a part
    needs no rounding, and what is not a product is a sum or a power of two. Everything is relative
    to a `scale` of the size of the bounds, so that nothing over- or underflows.
    """

    scale: Float[Array, "..."]
    start: Float[Array, "..."]
    parts: list[Float[Array, "..."]]
    pace: Float[Array, "..."]  # bins in a unit of the scale

    @classmethod
    def of(cls, bins: int, lower: Array, upper: Array) -> "_Grid":
        info = jnp.finfo(lower.dtype)
        scale = power_of_two(jnp.maximum(jnp.abs(lower), jnp.abs(upper)))
        start, end = lower * (1 / scale), upper * (1 / scale)
        # At least one step from number to number for each bin.
        width = jnp.maximum(end - start, bins * info.eps)
        digits = info.nmant + 1 - bins.bit_length()
        share, left, parts = np.asarray(1 / bins, lower.dtype), width, []
        for _ in range(-(-(info.nmant + 8) // digits)):
            parts.append(jax.lax.reduce_precision(left * share, info.nexp, digits - 1))
            left = left - bins * parts[-1]
        return cls(scale, start, parts, bins / width)

    def edge(self, number: Float[Array, "..."]) -> Float[Array, "..."]:
        """The edge of that number, a whole one."""
        offset = number * self.parts[-1]
        for part in self.parts[-2::-1]:
            offset = number * part + offset
        return (self.start + offset) * self.scale

    def position(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """How many bins `x` lies above the lower bound, up to rounding."""
        return (x * (1 / self.scale) - self.start) * self.pace


def _beside_zero(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x` with the smallest normal number in place of a subnormal one, mostly taken for 0."""
    info = jnp.finfo(x.dtype)
    bits = jax.lax.bitcast_convert_type(x, f"int{info.bits}")
    subnormal = (jnp.abs(x) < info.tiny) & (bits << 1 != 0)
    return jnp.where(subnormal, jnp.where(bits < 0, -info.tiny, info.tiny), x)


@jax.custom_jvp
def _hard_index(binning: Binning, x: Array) -> Array:
    dtype = jnp.promote_types(x.dtype, binning.lower.dtype)
    x, lower, upper = (y.astype(dtype) for y in (_beside_zero(x), binning.lower, binning.upper))
    if binning.out_of_range == "clip":
        x = jnp.clip(x, lower, upper)
    grid, last = _Grid.of(binning.bins, lower, upper), binning.bins - 1
    # Arithmetic, rounded down by more than its error, finds the number or the one before, and the
    # edge between them decides.
    guess = jnp.maximum(jnp.floor(grid.position(x) - 0.25), 0)
    following = guess + 1
    number = jnp.minimum(jnp.where(x >= grid.edge(following), following, guess), last)
    number = jnp.where(x == upper, jnp.where(lower < upper, last, 0), number)
    # Converting a float out of an integer's range is undefined, so it is replaced first.
    return jnp.where((x >= lower) & (x <= upper), number, binning.bins).astype(jnp.int32)


@_hard_index.defjvp
def _(primals, tangents):
    raise TypeError(
        "Hard bins cannot be differentiated: the number of a bin is piecewise constant, so the "
        "gradient would be a silent zero. Expected a differentiable route: pass `method=Exact()` "
        "(closed form, for an affine layer with an elementwise activation) or `method=Soft()` "
        "(differentiable bins, for any channel); or cut the gradient with `jax.lax.stop_gradient`."
    )


def _show(bound: Array) -> str:
    if is_traced(bound) or bound.ndim > 0:
        return f"an array of shape {bound.shape}"
    return f"{float(bound):g}"
