"""Maps of few parameters: low rank, Kronecker, Monarch."""

import math

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .._core import public
from ._base import AbstractLinearMap
from ._numerics import largest, uniform


@public
class LowRankLinear(AbstractLinearMap):
    r"""$W = A B$ of rank at most `rank`, with `rank * (in_features + out_features)` numbers.

    `from_matrix` truncates the singular value decomposition.

    **Arguments:** `rank`: from 1 to `min(in_features, out_features)`; by default a quarter of that,
    rounded up.

    **Reference:** Eckart and Young (1936), *The approximation of one matrix by another of lower rank*.
    """

    A: Float[Array, "in_features rank"]
    B: Float[Array, "rank out_features"]

    _fast = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        rank: int | None = None,
    ):
        bias_key, a_key, b_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        most = min(in_features, out_features)
        rank = -(-most // 4) if rank is None else rank
        if not 1 <= rank <= most:
            raise ValueError(
                f"`rank` must lie in 1...{most}, the smaller of the two sizes; got {rank}."
            )
        self.A = uniform(a_key, (in_features, rank), in_features)
        self.B = uniform(b_key, (rank, out_features), rank)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self.A @ self.B

    @property
    def equation(self) -> str:
        return f"W = A B, rank W <= {self.A.shape[1]}"

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        return (x @ self.A) @ self.B

    def violation(self) -> Float[Array, ""]:
        rank = self.A.shape[1]
        values = jnp.linalg.svd(self.effective_W(), compute_uv=False)
        return largest(values[rank:]) / jnp.maximum(largest(values), 1)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        rank = self.A.shape[1]
        U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
        root = jnp.sqrt(s[:rank])
        return {"A": U[:, :rank] * root, "B": root[:, None] * Vt[:rank]}


@public
class KroneckerLinear(AbstractLinearMap):
    r"""$W = A \otimes B$: two small matrices, one acting on each half of a split index.

    With `in_features = a b`, `out_features = c d`, $A$ of shape $(a, c)$ and $B$ of shape $(b, d)$.
    Costs $O(b\,a\,c + c\,b\,d)$ per vector. `from_matrix` solves the nearest Kronecker product by one
    singular value decomposition of the rearranged matrix.

    **Arguments:** `in_split`, `out_split`: $a$ and $c$, divisors of the sizes; by default those nearest
    to their square roots.

    **Reference:** Van Loan and Pitsianis (1993), *Approximation with Kronecker products*.
    """

    A: Float[Array, "a c"]
    B: Float[Array, "b d"]

    _fast = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        in_split: int | None = None,
        out_split: int | None = None,
    ):
        bias_key, a_key, b_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        a = _divisor("in_split", in_split, in_features)
        c = _divisor("out_split", out_split, out_features)
        b, d = in_features // a, out_features // c
        self.A = uniform(a_key, (a, c), a) * math.sqrt(math.sqrt(3))
        self.B = uniform(b_key, (b, d), b) * math.sqrt(math.sqrt(3))

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return jnp.kron(self.A, self.B)

    @property
    def equation(self) -> str:
        return f"W = A kron B, of shapes {self.A.shape} and {self.B.shape}"

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        split = x.reshape(*x.shape[:-1], self.A.shape[0], self.B.shape[0])
        y = jnp.einsum("...ab,ac,bd->...cd", split, self.A, self.B)
        return y.reshape(*x.shape[:-1], self.out_features)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        (a, c), (b, d) = self.A.shape, self.B.shape
        rearranged = W.reshape(a, b, c, d).transpose(0, 2, 1, 3).reshape(a * c, b * d)
        U, s, Vt = jnp.linalg.svd(rearranged, full_matrices=False)
        root = jnp.sqrt(s[0])
        return {"A": (root * U[:, 0]).reshape(a, c), "B": (root * Vt[0]).reshape(b, d)}


@public
class MonarchLinear(AbstractLinearMap):
    r"""Two block-diagonal matrices with a transposition between them: about $2 n^{3/2}$ numbers.

    With `in_features = p q` and `out_features = r k`, the input is read as a $p \times q$ table,

    $$y_{rk} = \sum_p L_{kpr} \sum_q R_{pqk}\, x_{pq}.$$

    Batched matrix products throughout, so it runs at the speed of the hardware. Includes the
    butterfly matrices of the same size, up to order. `from_matrix` takes the best rank-one part of
    each slice, which is the nearest member.

    **Arguments:** `in_split`, `out_split`: $p$ and $k$, divisors of the sizes; by default those nearest
    to their square roots.

    **Reference:** Dao et al. (2022), *Monarch: expressive structured matrices for efficient and
    accurate training*, arXiv:2204.00595.
    """

    R: Float[Array, "p q k"]
    L: Float[Array, "k p r"]

    _fast = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        in_split: int | None = None,
        out_split: int | None = None,
    ):
        bias_key, r_key, l_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        p = _divisor("in_split", in_split, in_features)
        k = _divisor("out_split", out_split, out_features)
        q, r = in_features // p, out_features // k
        self.R = uniform(r_key, (p, q, k), q) * math.sqrt(math.sqrt(3))
        self.L = uniform(l_key, (k, p, r), p) * math.sqrt(math.sqrt(3))

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        W = jnp.einsum("pqk,kpr->pqrk", self.R, self.L)
        return W.reshape(self.in_features, self.out_features)

    @property
    def equation(self) -> str:
        return "W = R P L, R and L block-diagonal, P a transposition"

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        table = x.reshape(*x.shape[:-1], *self.R.shape[:2])
        inner = jnp.einsum("...pq,pqk->...pk", table, self.R)
        y = jnp.einsum("...pk,kpr->...rk", inner, self.L)
        return y.reshape(*x.shape[:-1], self.out_features)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        (p, q, k), r = self.R.shape, self.L.shape[2]
        slices = W.reshape(p, q, r, k).transpose(0, 3, 1, 2)
        U, s, Vt = jnp.linalg.svd(slices, full_matrices=False)
        root = jnp.sqrt(s[..., 0])[..., None]
        return {
            "R": (root * U[..., :, 0]).transpose(0, 2, 1),
            "L": (root * Vt[..., 0, :]).transpose(1, 0, 2),
        }


def _divisor(name: str, given: int | None, size: int) -> int:
    """`given` if it divides `size`; by default the divisor nearest to the square root."""
    if given is None:
        return next(d for d in range(math.isqrt(size), 0, -1) if size % d == 0)
    if given < 1 or size % given:
        raise ValueError(f"`{name}` must divide {size}; got {given}.")
    return given
