"""How far an estimate of mutual information may be off: the delta method."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._estimators import PlugIn


def information_density(
    counts: Int[Array, "*batch rows columns"],
) -> Float[Array, "*batch rows columns"]:
    r"""$\log_2 \frac{n_{ij} N}{n_{i\cdot} n_{\cdot j}}$ in **bits**; 0 in an empty cell.

    Its mean over the samples is the plug-in mutual information.
    """
    n = counts.astype(float)
    rows, columns = jnp.sum(n, axis=-1, keepdims=True), jnp.sum(n, axis=-2, keepdims=True)
    seen = n > 0
    # Divided twice, since the product of two marginals may leave the exact integers of a float32.
    share = jnp.where(seen, n, 1) / jnp.where(seen, rows, 1)
    total = jnp.sum(n, axis=(-2, -1), keepdims=True)
    return jnp.where(seen, jnp.log2(share * total / jnp.where(seen, columns, 1)), 0)


def standard_error(counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
    r"""One standard deviation, in **bits**, of an estimate from independent counts.

    The delta method: with $d_{ij}$ the information density, $\sqrt{\mathrm{Var}(d) / N}$, less what
    the scatter of the counts themselves adds to that variance. It holds for every estimator here,
    since they differ by less than it. NaN for an empty table.

    **Source:** Moddemeijer (1989), *On estimation of entropy and mutual information of continuous
    distributions*, Signal Processing 16:233.

    >>> import jax.numpy as jnp
    >>> standard_error(jnp.array([[40, 10], [10, 40]])).round(3)
    Array(0.079, dtype=float32)
    """
    n = counts.astype(float)
    total = jnp.sum(n, axis=(-2, -1))
    density = information_density(counts)
    spread = density - PlugIn()(counts)[..., None, None]
    variance = jnp.sum(n / total[..., None, None] * spread**2, axis=(-2, -1))
    return error_of_mean(variance, PlugIn().bias(counts), total)


def error_of_mean(
    variance: Float[Array, "*batch"],
    bias: Float[Array, "*batch"],
    samples: Float[Array, "*batch"] | Int[Array, "*batch"],
) -> Float[Array, "*batch"]:
    r"""The standard error from the variance of the influence of one sample.

    Where variables share nothing, all that variance is noise of the counts: it is $K/N$ (in nats,
    for $K$ degrees of freedom), while the variance of the estimate is only half of $K/N^2$. With
    $K/N$ known from the plug-in `bias` $K/(2 N \ln 2)$, that half is taken off, and never more than
    half.
    """
    noise = bias / math.log(2)
    return jnp.sqrt(jnp.maximum(variance - noise, variance / 2) / samples)
