r"""Estimators that change the logarithm of a count, and nothing else.

Each is a function $c$ in $h(n) = \ln n + c(n)$; `corrected` puts $h$ in the place of the logarithm.
"""

import jax.numpy as jnp
from jax.scipy.special import digamma
from jaxtyping import Array, Float, Int

from .._core import public
from ._estimators import AbstractEstimator, at_most_possible, corrected
from ._subsampling import judged


class MillerMadow(AbstractEstimator):
    r"""First-order correction from the number of occupied cells.

    $$\hat I = \hat I_{plug-in} - \frac{K_{xy} - K_x - K_y + 1}{2 N \ln 2},
    \qquad c(n) = -\frac{1}{2n}.$$

    Too little where many cells are reachable and few samples are there to reach them.

    **Source:** Miller (1955), *Note on the bias of information estimates*.

    >>> import jax.numpy as jnp
    >>> MillerMadow()(jnp.array([[5, 3], [2, 6]])).round(3)
    Array(0.061, dtype=float32)
    """

    @public
    def __call__(self, counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
        return at_most_possible(corrected(counts, lambda n, _: -0.5 / jnp.maximum(n, 1)), counts)

    @public
    def with_bias(
        self, counts: Int[Array, "*batch rows columns"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """The bias as far as `Extrapolation` can tell."""
        return judged(self(counts), counts)


class Jackknife(AbstractEstimator):
    r"""The jackknife: what leaving out one sample at a time says of the bias in $1/N$.

    $$\hat I = N \hat I_N - \frac{N - 1}{N} \sum_s \hat I_{N \setminus s},
    \qquad c(n) = (n - 1) \ln \frac{n}{n - 1},$$

    the sum over samples in closed form.

    **Source:** Quenouille (1956), Biometrika 43:353; Efron and Stein (1981), Annals of Statistics
    9:586.

    >>> import jax.numpy as jnp
    >>> Jackknife()(jnp.array([[5, 3], [2, 6]])).round(3)
    Array(0.045, dtype=float32)
    """

    @public
    def __call__(self, counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
        return at_most_possible(corrected(counts, lambda n, _: leave_one_out(n)), counts)

    @public
    def with_bias(
        self, counts: Int[Array, "*batch rows columns"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """The bias as far as `Extrapolation` can tell."""
        return judged(self(counts), counts)


def leave_one_out(n: Float[Array, "..."]) -> Float[Array, "..."]:
    """The jackknife's $c(n)$ in nats."""
    more = n > 1  # c(1) is 0, the limit
    return jnp.where(more, -(n - 1) * jnp.log1p(-1 / jnp.where(more, n, 2)), 0)


class Grassberger(AbstractEstimator):
    r"""Grassberger's estimate of each entropy, with his $G(n)$ for $\ln n$.

    $$\hat H = \ln N - \frac1N \sum_i n_i G(n_i), \qquad
    G(n) = \psi(n) + \tfrac12 (-1)^n \left[\psi\left(\tfrac{n+1}{2}\right) -
    \psi\left(\tfrac n2\right)\right].$$

    **Source:** Grassberger (2003), *Entropy estimates from insufficient samplings*, arXiv
    physics/0307138.

    >>> import jax.numpy as jnp
    >>> f"{Grassberger()(jnp.array([[5, 3], [2, 6]])):.3f}"
    '0.103'
    """

    @public
    def __call__(self, counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
        return at_most_possible(corrected(counts, _grassberger), counts)

    @public
    def with_bias(
        self, counts: Int[Array, "*batch rows columns"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """The bias as far as `Extrapolation` can tell."""
        return judged(self(counts), counts)


def _grassberger(n: Float[Array, "..."], total: Float[Array, "..."]) -> Float[Array, "..."]:
    safe = jnp.maximum(n, 1)
    sign = jnp.where(safe % 2 == 0, 0.5, -0.5)
    g = digamma(safe) + sign * (digamma((safe + 1) / 2) - digamma(safe / 2))
    return jnp.where(n == total[..., None], 0, g - jnp.log(safe))
