r"""Estimators that ask what a smaller, or a shuffled, sample would have shown.

Both questions have one answer in closed form. A random half of $N$ samples holds $k$ of the $n$
that fell into a cell, and a random permutation puts $k$ of a row's $a$ samples into a column of
$b$: in either case $k$ is hypergeometric, and what is needed is the mean of $k \ln k$. So no
samples are drawn, and the answer is the mean over all halves, or all permutations.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._core import public
from ._estimators import (
    AbstractEstimator,
    PlugIn,
    added_by,
    at_most_possible,
    total_of,
    with_margins,
)

_SUMMED_MEAN = 16.0  # up to this mean the distribution is summed, above it a series errs by 3e-6
_TERMS = 48  # which reach eight standard deviations past that mean
_TABLED = 64  # counts below this are looked up: four times the mean above, for a quarter sample


class Extrapolation(AbstractEstimator):
    r"""Three-point extrapolation of the plug-in value in $1/N$.

    $$\hat I = \tfrac13 (8\, \hat I_N - 6\, \hat I_{N/2} + \hat I_{N/4})$$

    cancels a bias in $1/N$ and in $1/N^2$. Here $\hat I_{N/2}$ is the mean plug-in value over *all*
    halves of the samples, computed in closed form from the one table: no second pass, and none of
    the noise of choosing a half. A table of fewer than eight counts gets its plug-in value.

    `bias` is the size of the correction's last step, from two points to three, as in any Richardson
    extrapolation: what is left is usually well below it.

    **Source:** Strong et al. (1998), *Entropy and information in neural spike trains*, Physical
    Review Letters 80:197, for the extrapolation; Grassberger (1988), Physics Letters A 128:369, for
    means over subsamples in closed form.

    >>> import jax.numpy as jnp
    >>> Extrapolation()(jnp.array([[5, 3], [2, 6]])).round(3)
    Array(0.018, dtype=float32)
    """

    @public
    def __call__(self, counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
        return self.with_bias(counts)[0]

    @public
    def with_bias(
        self, counts: Int[Array, "*batch rows columns"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """The bias is two-point minus three-point extrapolation."""
        plug_in, half, quarter = _nested(counts)
        return at_most_possible(plug_in - 2 * half + quarter / 3, counts), half - quarter / 3


def judged(
    bits: Float[Array, "*batch"], counts: Int[Array, "*batch rows columns"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """An estimate, and its bias if `Extrapolation` has none."""
    return bits, bits - Extrapolation()(counts)


@jax.jit
def _nested(counts: Array) -> tuple[Array, Array, Array]:
    """The plug-in value, and how much the mean halves and quarters of the samples exceed it."""
    plug_in = PlugIn()(counts)
    total = total_of(counts)

    def excess(parts: Array) -> Array:
        def correction(n: Array, of: Array) -> Array:
            drawn = of / parts
            # A count depends on nothing but itself and the total, so small ones are tabulated.
            small = jnp.arange(_TABLED, dtype=of.dtype)
            table = _relative_mean(small, drawn[..., None], of[..., None])
            number = jnp.minimum(n, _TABLED - 1).astype(jnp.int32)
            looked_up = jnp.take_along_axis(table, number, axis=-1)
            return jnp.where(n < _TABLED, looked_up, _series(n, drawn[..., None], of[..., None]))

        return jnp.where(total < 8, 0, added_by(correction, counts))

    half, quarter = jax.vmap(excess)(jnp.array([2.0, 4.0]))
    return plug_in, half, quarter


class ShuffledNull(AbstractEstimator):
    r"""The plug-in value less what it would be, on average, had the pairing been shuffled.

    $$\hat I = \hat I_N - \mathbb E[\hat I_N \mid n_{i\cdot}, n_{\cdot j}]$$

    over all permutations of one variable's samples, in closed form. For independent variables it is
    unbiased; where they depend on each other the joint has fewer reachable cells than a shuffled
    one, and too much is subtracted.

    **Source:** Vinh, Epps and Bailey (2010), *Information theoretic measures for clusterings
    comparison*, Journal of Machine Learning Research 11:2837, for the expectation.

    >>> import jax.numpy as jnp
    >>> ShuffledNull()(jnp.array([[5, 5], [5, 5]])).round(3)  # less than a shuffled table shows
    Array(-0.039, dtype=float32)
    """

    @public
    def __call__(self, counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
        _, rows, columns, total = with_margins(counts)
        total = jnp.maximum(total, 1)
        mean = rows * columns / total
        nats = jnp.sum(mean / total * _relative_mean(rows, columns, total), axis=(-2, -1))
        return PlugIn()(counts) - nats / math.log(2)

    @public
    def with_bias(
        self, counts: Int[Array, "*batch rows columns"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """The bias as far as `Extrapolation` can tell."""
        return judged(self(counts), counts)


@jax.jit
def _relative_mean(
    a: Float[Array, "..."], b: Float[Array, "..."], total: Float[Array, "..."]
) -> Float[Array, "..."]:
    r"""$\mathbb E[k \ln (k / \mu)] / \mu$, where $k$ of `a` marked things are among `b` drawn.

    `b` are drawn of `total` without replacement, so the mean is $\mu = ab/\text{total}$. 0 where
    $\mu = 0$.
    """
    a, b, total = jnp.broadcast_arrays(a, b, total)
    mean = a * b / total
    summed = (mean > 0) & (mean <= _SUMMED_MEAN)
    safe = jnp.where(summed, mean, 1)
    first = jnp.maximum(a + b - total, 0)

    def add(step: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        weight, mass, nats = state
        k = first + step
        mass = mass + weight
        nats = nats + weight * k * jnp.log(jnp.maximum(k, 1e-30) / safe)
        ratio = jnp.maximum(a - k, 0) * jnp.maximum(b - k, 0)
        weight = weight * ratio / ((k + 1) * (total - a - b + k + 1))
        # The weights climb from the lowest tail to the mode, further than a float32 reaches.
        scale = jnp.where(weight > 1e20, 1e-20, 1)
        return weight * scale, mass * scale, nats * scale

    one, zero = jnp.where(summed, 1.0, 0.0), jnp.zeros_like(mean)
    _, mass, nats = jax.lax.fori_loop(0, _TERMS, add, (one, zero, zero))
    exact = nats / jnp.where(summed, mass, 1) / safe
    return jnp.where(summed, exact, jnp.where(mean > 0, _series(a, b, total), 0))


def _series(
    a: Float[Array, "..."], b: Float[Array, "..."], total: Float[Array, "..."]
) -> Float[Array, "..."]:
    """`_relative_mean` for a large mean: the Taylor series of $k \\ln k$ over central moments."""
    mean = jnp.maximum(a * b / total, 1)
    p, q = a / total, b / total
    v = mean * (1 - p) * (1 - q) * total / jnp.maximum(total - 1, 1)
    skewed = v * (1 - 2 * p) * (1 - 2 * q)
    peaked = v * (1 - 6 * p * (1 - p)) * (1 - 6 * q * (1 - q))
    # Moments of a nearly normal variable: 3 v^2 + peaked, 10 v skewed, 15 v^3.
    terms = (
        v / 2
        - skewed / (6 * mean)
        + (v**2 / 4 + peaked / 12) / mean**2
        - v * skewed / (2 * mean**3)
        + v**3 / (2 * mean**4)
    )
    return terms / mean**2
