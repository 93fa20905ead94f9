"""How far an estimate of mutual information may be off: the influence of one sample."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._core import as_real, public
from ._corrected import leave_one_out
from ._estimators import PlugIn, with_margins


def influence_of_cells(
    counts: Int[Array, "*batch rows columns"],
) -> Float[Array, "*batch rows columns"]:
    r"""What one sample in each cell adds to the estimate, less the mean, in **bits**.

    The pseudo-values of the jackknife in closed form: the information density
    $\log_2 \frac{n_{ij} N}{n_{i\cdot} n_{\cdot j}}$ with $\ln n + c(n)$ for $\ln n$, as in
    `Jackknife`. 0 in an empty cell.
    """
    n, rows, columns, total = with_margins(counts)
    total = jnp.maximum(total, 1)
    seen = n != 0
    # Divided twice, since the product of two marginals may leave the exact integers of a float32.
    share = jnp.where(seen, n, 1) / jnp.where(seen, rows, 1)
    density = jnp.log(share * total / jnp.where(seen, columns, 1))
    density += (
        leave_one_out(n) + leave_one_out(total) - leave_one_out(rows) - leave_one_out(columns)
    )
    density = jnp.where(seen, density / math.log(2), 0)
    mean = jnp.sum(n / total * density, axis=(-2, -1), keepdims=True)
    return jnp.where(seen, density - mean, 0)


@public
def standard_error(counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
    r"""One standard deviation, in **bits**, of an estimate from independent counts.

    That of the jackknife: $\sqrt{\mathrm{Var}(\phi) / N}$ over its pseudo-values $\phi$, less what
    the scatter of the counts themselves adds to their variance. It serves every estimator here: to
    first order in $1/N$ they scatter alike. NaN for an empty table.

    **Source:** Efron and Stein (1981), *The jackknife estimate of variance*, Annals of Statistics
    9:586.

    >>> import jax.numpy as jnp
    >>> standard_error(jnp.array([[40, 10], [10, 40]])).round(3)
    Array(0.082, dtype=float32)
    """
    n = as_real(counts)
    total = jnp.sum(n, axis=(-2, -1))
    squares = influence_of_cells(counts) ** 2
    variance = jnp.sum(n / total[..., None, None] * squares, axis=(-2, -1))
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
