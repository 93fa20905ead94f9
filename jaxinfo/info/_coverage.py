"""The estimator of Chao and Shen: how much probability was never seen."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._core import as_real, public
from ._estimators import AbstractEstimator, at_most_possible, in_a_row
from ._subsampling import judged


class ChaoShen(AbstractEstimator):
    r"""Coverage-adjusted estimate of each entropy, $\hat I = \hat H_x + \hat H_y - \hat H_{xy}$.

    $$\hat H = -\sum_i \frac{\tilde p_i \log_2 \tilde p_i}{1 - (1 - \tilde p_i)^N},
    \qquad \tilde p_i = \hat C\, \frac{n_i}{N}, \qquad \hat C = 1 - \frac{f_1}{N},$$

    with $f_1$ the number of cells seen once ($N - 1$ instead, if every cell was).

    **Source:** Chao and Shen (2003), *Nonparametric estimation of Shannon's index of diversity when
    there are unseen species in sample*, Environmental and Ecological Statistics 10:429.

    >>> import jax.numpy as jnp
    >>> ChaoShen()(jnp.array([[5, 3], [2, 6]])).round(3)
    Array(0.037, dtype=float32)
    """

    @public
    def __call__(self, counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
        n = as_real(counts)
        rows, columns = jnp.sum(n, axis=-1), jnp.sum(n, axis=-2)
        return at_most_possible(_entropy(rows) + _entropy(columns) - _entropy(in_a_row(n)), counts)

    @public
    def with_bias(
        self, counts: Int[Array, "*batch rows columns"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """The bias as far as `Extrapolation` can tell."""
        return judged(self(counts), counts)


def _entropy(n: Float[Array, "*batch cells"]) -> Float[Array, "*batch"]:
    total = jnp.maximum(jnp.sum(n, axis=-1, keepdims=True), 1)
    once = jnp.sum(n == 1, axis=-1, keepdims=True)
    p = n / total * (1 - jnp.minimum(once, total - 1) / total)
    present = p != 0
    safe = jnp.where(present, p, 0.5)
    # p is 1 where one cell holds all: then log1p is minus infinity, and the cell was surely seen.
    seen = -jnp.expm1(total * jnp.log1p(-safe))
    return -jnp.sum(jnp.where(present, safe * jnp.log(safe) / seen, 0), axis=-1) / math.log(2)
