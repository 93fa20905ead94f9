"""The estimator of Panzeri and Treves: how many cells could have been seen."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._core import as_real
from ._estimators import AbstractEstimator, PlugIn, at_most_possible, total_of
from ._subsampling import judged


class PanzeriTreves(AbstractEstimator):
    r"""First-order correction from the number of *relevant* cells, unseen ones included.

    $$\hat I = \hat I_{plug-in} - \frac{\sum_i (R_i - 1) - (R - 1)}{2 N \ln 2}$$

    $R_i$ is the number of columns that can occur in row $i$. With $\tilde R_i$ of them seen in
    $N_i$ samples, suppose $R_i$ can occur, the seen ones with probabilities
    $(1 - \gamma)(n_{ij} + 1)/(N_i + \tilde R_i)$, and the $R_i - \tilde R_i$ others sharing
    $\gamma = (R_i - \tilde R_i)[1 - (N_i / (N_i + \tilde R_i))^{1/N_i}]$ equally; then $R_i$ is the
    number for which the expected number of seen columns comes nearest to $\tilde R_i$. It is at
    most $R$, the number of columns that occur at all.

    **Source:** Panzeri and Treves (1996), *Analytical estimates of limited sampling biases in
    different information measures*, Network 7:87.

    >>> import jax.numpy as jnp
    >>> PanzeriTreves()(jnp.array([[5, 3], [2, 6]])).round(3)
    Array(0.061, dtype=float32)
    """

    def __call__(self, counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
        total = jnp.maximum(total_of(counts), 1)
        columns = jnp.sum(jnp.any(counts > 0, axis=-2), axis=-1)
        relevant = _relevant(counts, columns[..., None])
        occupied = jnp.any(counts > 0, axis=-1)
        extra = jnp.sum(jnp.where(occupied, relevant - 1, 0), axis=-1) - (columns - 1)
        bias = jnp.where(columns > 0, extra, 0) / (2 * math.log(2) * total)
        return at_most_possible(PlugIn()(counts) - bias, counts)

    def with_bias(
        self, counts: Int[Array, "*batch rows columns"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """The bias as far as `Extrapolation` can tell."""
        return judged(self(counts), counts)


@jax.jit
def _relevant(
    counts: Int[Array, "*rows columns"], possible: Int[Array, "..."]
) -> Int[Array, "*rows"]:
    """How many columns each row could have hit, between those it hit and those `possible`."""
    n = as_real(counts)
    total = jnp.maximum(jnp.sum(n, axis=-1), 1)
    seen = jnp.sum(counts > 0, axis=-1)
    share = -jnp.expm1(jnp.log1p(-seen / (total + seen)) / total)  # of each unseen column

    def expected(unseen: Array) -> Array:
        """How many columns would be seen, less those that were, if so many went unseen."""
        left = 1 - unseen * share
        p = (left / (total + seen))[..., None] * (n + 1)
        missed = jnp.exp(total[..., None] * jnp.log1p(-jnp.minimum(p, 1)))
        missed = jnp.sum(jnp.where(n > 0, missed, 0), axis=-1)
        return unseen * seen / (total + seen) - missed

    # The expected number grows with the number that can occur: bisection for where it crosses.
    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) // 2
        below = expected(middle) < 0
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    most = jnp.maximum(possible - seen, 0)
    steps = max(1, counts.shape[-1].bit_length())
    low, high = jax.lax.fori_loop(0, steps, halve, (jnp.zeros_like(most), most))
    nearer = jnp.abs(expected(low)) <= jnp.abs(expected(high))
    return seen + jnp.where(nearer, low, high)
