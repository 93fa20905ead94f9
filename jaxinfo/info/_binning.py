"""The one binning rule of the package."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Real

from .._core import checked, is_traced, one_of


class Binning(eqx.Module):
    r"""`bins` equal intervals over `[lower, upper]`.

    Bin $k$ is $[e_k, e_{k+1})$ with $e_k = l + k (u - l) / \text{bins}$; the last bin is closed at
    both ends, as in `numpy.histogram`. What lies outside `[lower, upper]`, NaN included, has no bin
    and is left out of the joint (`out_of_range="drop"`), or goes into the nearest edge bin
    (`out_of_range="clip"`; NaN still has none). A range of zero width is one point: what equals it
    is in bin 0.

    **Arguments:**

    - `bins`: number of bins, at least 2, static under `jit`.
    - `lower`, `upper`: the bounds, traced; numbers, or arrays that broadcast against what is binned
        (one range for each neuron).
    - `out_of_range`: `"drop"` or `"clip"`, static.

    **Raises:** `ValueError` for fewer than two bins, or for bounds that are reversed or not finite.

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
        if bins < 2:
            raise ValueError(f"`bins` must be at least 2, since one bin holds no bits; got {bins}.")
        lower, upper = jnp.asarray(lower, float), jnp.asarray(upper, float)
        bad = ~jnp.all(jnp.isfinite(lower) & jnp.isfinite(upper) & (lower <= upper))
        self.bins = int(bins)
        self.lower = checked(
            lower,
            bad,
            f"A range must be finite with `lower <= upper`; got ({_show(lower)}, {_show(upper)}).",
        )
        self.upper = upper
        self.out_of_range = one_of("out_of_range", out_of_range, ("drop", "clip"))

    @property
    def width(self) -> Float[Array, "*#neurons"]:
        """Width of one bin."""
        return (self.upper - self.lower) / self.bins

    @property
    def edges(self) -> Float[Array, "*#neurons edges"]:
        """The `bins + 1` edges, along a last axis; the outer two are exactly the bounds."""
        steps = jnp.arange(self.bins + 1) / self.bins
        inner = self.lower[..., None] + (self.upper - self.lower)[..., None] * steps
        return inner.at[..., -1].set(self.upper)

    @property
    def centres(self) -> Float[Array, "*#neurons bins"]:
        """The middle of each bin, along a last axis."""
        return (self.edges[..., 1:] + self.edges[..., :-1]) / 2

    def index(self, x: Float[Array, "*batch"]) -> Int[Array, "*batch"]:
        """The bin number of each value, `0 ... bins - 1`, or `bins` for what has no bin.

        Refuses to be differentiated: a bin number is piecewise constant, and a silent zero would
        look like a gradient.
        """
        return _hard_index(self, x)

    def soft(
        self,
        x: Float[Array, "*batch"],
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
        one_of("kernel", kernel, tuple(_KERNELS))
        bandwidth = jnp.asarray(bandwidth, float)
        message = f"`bandwidth` must be positive, in bin widths; got {_show(bandwidth)}."
        bandwidth = checked(bandwidth, ~(bandwidth > 0), message)
        cumulative, fade = _KERNELS[kernel]
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        lower, width = self.lower.astype(x.dtype), self.width.astype(x.dtype)
        known = ~jnp.isnan(x)
        position = (jnp.where(known, x, 0) - lower) / jnp.where(width > 0, width, 1)
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


@jax.custom_jvp
def _hard_index(binning: Binning, x: Array) -> Array:
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    lower, upper = binning.lower.astype(x.dtype), binning.upper.astype(x.dtype)
    width = upper - lower
    position = (x - lower) / jnp.where(width > 0, width, 1) * binning.bins
    inside = (x >= lower) & (x <= upper)
    if binning.out_of_range == "clip":
        inside = ~jnp.isnan(x)
        position = jnp.clip(position, 0, binning.bins)
    # Converting a float out of an integer's range is undefined, so replace it first.
    number = jnp.floor(jnp.where(inside, position, 0)).astype(jnp.int32)
    return jnp.where(inside, jnp.minimum(number, binning.bins - 1), binning.bins)


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
