"""Maps that lose nothing: a trivial null space, strict diagonal dominance."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .._core import public
from ._base import AbstractLinearMap, AbstractSquareMap
from ._numerics import at_least_single, largest, outside, uniform
from ._options import Number
from ._symmetric import symmetric_part


@public
class TrivialNullSpaceLinear(AbstractLinearMap):
    r"""$W = [\,G_1^T G_1 + \varepsilon I \mid G_2^T\,]$: $x W = 0$ only for $x = 0$.

    The square block is symmetric with eigenvalues of at least $\varepsilon$, so no singular value of
    $W$ is below $\varepsilon$. Only for `in_features <= out_features`, and without a bias, which would
    map 0 elsewhere.

    **Arguments:**

    - `rank`: rows of $G_1$; by default `(in_features + 1) // 2`.
    - `epsilon`: positive.

    `from_matrix` projects the square block and keeps the rest.

    **Source:** Equation 2 of Atzmon, Maron and Lipman, arXiv:1808.00924, as cited by
    neuromancer.slim.
    """

    Gl1: Float[Array, "rank in_features"]
    Gl2: Float[Array, "more in_features"]
    epsilon: float = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        rank: int | None = None,
        epsilon: Number = 0.1,
    ):
        if use_bias:
            raise ValueError(
                "`TrivialNullSpaceLinear` takes no bias: it would map 0 to something else."
            )
        if in_features > out_features:
            raise ValueError(
                f"`TrivialNullSpaceLinear` cannot lower the dimension; got {in_features} "
                f"(`in_features`) x {out_features} (`out_features`)."
            )
        if not epsilon > 0:
            raise ValueError(f"`epsilon` must be positive; got {epsilon:g}.")
        rank = (in_features + 1) // 2 if rank is None else rank
        if rank < 0:
            raise ValueError(f"`rank` must be at least 0; got {rank}.")
        first_key, second_key = jr.split(key)
        super().__init__(in_features, out_features, False, key=key)
        self.Gl1 = jr.uniform(first_key, (rank, in_features))
        self.Gl2 = jr.uniform(second_key, (out_features - in_features, in_features))
        self.epsilon = float(epsilon)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        eye = jnp.eye(self.in_features, dtype=self.Gl1.dtype)
        return jnp.concatenate([self.Gl1.T @ self.Gl1 + self.epsilon * eye, self.Gl2.T], axis=1)

    @property
    def equation(self) -> str:
        return f"W = [G1^T G1 + {self.epsilon:g} I | G2^T], so x W = 0 only for x = 0"

    def violation(self) -> Float[Array, ""]:
        # Relative to the largest value: rounding hides what is smaller by more than the precision.
        values = jnp.linalg.svd(at_least_single(self.effective_W()), compute_uv=False)
        return outside(values, self.epsilon, jnp.inf) / jnp.maximum(largest(values), 1)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        n, rank = self.in_features, self.Gl1.shape[0]
        values, vectors = jnp.linalg.eigh(symmetric_part(W[:, :n]))
        rows = jnp.sqrt(jax.nn.relu(values - self.epsilon))[::-1, None] * vectors.T[::-1]
        rows = jnp.pad(rows, ((0, max(rank - n, 0)), (0, 0)))[:rank]
        return {"Gl1": rows, "Gl2": W[:, n:].T}


@public
class DiagonallyDominantLinear(AbstractSquareMap):
    r"""A strictly diagonally dominant matrix: invertible, by the theorem of Levy and Desplanques.

    The off-diagonal entries are free; the diagonal is what dominance asks for and more,

    $$W_{ii} = \mathrm{sign}(A_{ii}) \Big(\sum_{j \ne i} |A_{ij}| + |A_{ii}| + \varepsilon\Big),
    \qquad \mathrm{sign}(0) = 1.$$

    The inverse is bounded: $\|W^{-1}\|_\infty \le 1/\varepsilon$. `from_matrix` keeps the off-diagonal
    entries and moves each diagonal entry as little as that allows.

    **Arguments:** `epsilon`: the least margin of dominance, positive.

    **Reference:** Horn and Johnson, *Matrix Analysis*, section 6.1; Varah (1975), *A lower bound for
    the smallest singular value of a matrix*.
    """

    weight: Float[Array, "n n"]
    epsilon: float = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        epsilon: Number = 0.1,
    ):
        if not epsilon > 0:
            raise ValueError(f"`epsilon` must be positive; got {epsilon:g}.")
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.weight = uniform(key, (in_features, in_features), in_features**2)
        self.epsilon = float(epsilon)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        own = jnp.diagonal(self.weight)
        off = self.weight - jnp.diag(own)
        margin = jnp.sum(jnp.abs(off), axis=1) + jnp.abs(own) + self.epsilon
        return off + jnp.diag(jnp.where(own < 0, -margin, margin))

    @property
    def equation(self) -> str:
        return f"|W_ii| >= sum of |W_ij| over j != i, plus {self.epsilon:g}"

    def violation(self) -> Float[Array, ""]:
        W = at_least_single(self.effective_W())
        own = jnp.abs(jnp.diagonal(W))
        others = jnp.sum(jnp.abs(W), axis=1) - own
        return outside(own - others, self.epsilon, jnp.inf)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        own = jnp.diagonal(W)
        off = W - jnp.diag(own)
        excess = jax.nn.relu(jnp.abs(own) - jnp.sum(jnp.abs(off), axis=1) - self.epsilon)
        return {"weight": off + jnp.diag(jnp.where(own < 0, -excess, excess))}
