"""Orthogonal maps: by reflections, by Cayley's transform, by the exponential; Stiefel; Schur."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from ._base import AbstractLinearMap, AbstractSquareMap, AbstractWeightMap
from ._householder import reflect, vectors_of
from ._numerics import at_least_single, largest, orthonormality
from ._options import Number, even
from ._rotations import nearest_rotation, planes_of_normal, polar, skew_of_rotation
from ._symmetric import skew


class OrthogonalLinear(AbstractSquareMap):
    r"""$W = H_1 H_2 \cdots H_n$, $H_i$ the reflection given by row $i$ of `U` from its diagonal on.

    Any orthogonal matrix can be written so. The lower triangle of `U` is not used. The last
    reflection is a sign: while no row is 0, $\det W = (-1)^n$. A row of zeros stands for the
    identity and has gradient 0.

    The matrix is not formed to apply it: see `householder_product`.

    **Source:** Mhammedi, Hellicar, Rahman and Bailey (2017), *Efficient orthogonal parametrisation of
    recurrent neural networks using Householder reflections*, arXiv:1612.00188; neuromancer.slim.
    """

    U: Float[Array, "in_features in_features"]

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.U = jnp.triu(jr.normal(key, (in_features, in_features)))

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self._multiply(jnp.eye(self.in_features, dtype=self.U.dtype), None)

    @property
    def equation(self) -> str:
        return "W = H_1 H_2 ... H_n, so W W^T = I"

    def violation(self) -> Float[Array, ""]:
        return orthonormality(self.effective_W())

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        return reflect(x, jnp.triu(self.U))

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"U": vectors_of(polar(W), self.in_features)}


class CayleyLinear(AbstractWeightMap, AbstractSquareMap):
    r"""$W = (I - S)(I + S)^{-1}$ with $S$ skew-symmetric: a rotation, $\det W = 1$.

    Every rotation without the eigenvalue $-1$ is reached, by exactly one $S$ (the upper triangle of
    `weight`). Costs one $n \times n$ solve. Reflections: use `OrthogonalLinear`.

    `from_matrix` gives the nearest rotation, by way of the real Schur form (on a CPU). Where that turns
    a plane by $\pi$, no member is nearest: it then turns by $\pi$ less about $2\sqrt{\varepsilon}$, with
    $\varepsilon$ the rounding unit of the type.

    **Reference:** Helfrich, Willmott and Ye (2018), *Orthogonal recurrent neural networks with scaled
    Cayley transform*, arXiv:1707.09520.
    """

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        S = at_least_single(skew(self.weight))
        eye = jnp.eye(self.in_features, dtype=S.dtype)
        # (I + S)^-1 commutes with I - S.
        return jnp.linalg.solve(eye + S, eye - S).astype(self.weight.dtype)

    @property
    def equation(self) -> str:
        return "W = (I - S)(I + S)^-1, S = T - T^T, so W W^T = I and det W = 1"

    def violation(self) -> Float[Array, ""]:
        return orthonormality(self.effective_W())

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        steepest = jnp.finfo(W.dtype).eps ** -0.5

        def minus_tangent(angle):
            half = jnp.clip(jnp.sin(angle / 2) / jnp.cos(angle / 2), -steepest, steepest)
            return -half

        return {"weight": jnp.triu(skew_of_rotation(nearest_rotation(W), minus_tangent))}


class ExponentialLinear(AbstractWeightMap, AbstractSquareMap):
    r"""$W = e^S$ with $S$ skew-symmetric: every rotation, $\det W = 1$.

    $S$ is the upper triangle of `weight` minus its transpose. The matrix is orthogonal to the
    precision of its dtype, however large the weights; but where neighbouring numbers are more than
    a turn apart, the angles are as good as random. Costs about ten $n \times n$ products, and three
    more for each power of two in the norm of $S$.

    `from_matrix` gives the nearest rotation, and of its logarithms the one with angles up to $\pi$, by
    way of the real Schur form (on a CPU).

    **Reference:** Lezcano-Casado and Martinez-Rubio (2019), *Cheap orthogonal constraints in neural
    networks*, arXiv:1901.08428.
    """

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return _rotation(at_least_single(skew(self.weight))).astype(self.weight.dtype)

    @property
    def equation(self) -> str:
        return "W = exp(S), S = T - T^T, so W W^T = I and det W = 1"

    def violation(self) -> Float[Array, ""]:
        return orthonormality(self.effective_W())

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"weight": jnp.triu(skew_of_rotation(nearest_rotation(W), lambda angle: angle))}


def _rotation(S: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The exponential of a skew-symmetric matrix, by scaling and squaring.

    A square doubles what the matrix lacks of being orthogonal, so each is followed by a step of
    Newton's iteration towards the nearest orthogonal matrix (Björck and Bowie 1971). Norms above
    the largest that is squared away are taken for that one.
    """
    most = 2 * jnp.finfo(S.dtype).nmant
    size = jnp.max(jnp.sum(jnp.abs(jax.lax.stop_gradient(S)), axis=0), initial=0)
    S = S * jnp.minimum(1, 2.0**most / jnp.maximum(size, 1))
    squarings = jnp.clip(jnp.ceil(jnp.log2(jnp.maximum(size, 1))), 0, most)

    def square(W: Array, step: Array) -> tuple[Array, None]:
        return jax.lax.cond(step < squarings, lambda W: _nearer(W @ W), lambda W: W, W), None

    start = jax.scipy.linalg.expm(S * jnp.exp2(-squarings), max_squarings=1)
    return jax.lax.scan(square, start, jnp.arange(most, dtype=S.dtype))[0]


def _nearer(W: Float[Array, "n n"]) -> Float[Array, "n n"]:
    return 1.5 * W - 0.5 * W @ (W.T @ W)


class StiefelLinear(AbstractLinearMap):
    r"""A rectangular matrix with orthonormal rows or columns, whichever are fewer.

    The first $\min(in, out)$ columns of a product of as many reflections of $\max(in, out)$
    coordinates, transposed if $in < out$. Lengths are kept if $in \le out$; otherwise the map
    projects onto a subspace and keeps the lengths within it.

    **Reference:** as `OrthogonalLinear`, whose rectangular companion it is.
    """

    U: Float[Array, "few many"]

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        few, many = sorted((in_features, out_features))
        self.U = jnp.triu(jr.normal(key, (few, many)))

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self._multiply(jnp.eye(self.in_features, dtype=self.U.dtype), None)

    @property
    def equation(self) -> str:
        kept = "W W^T = I" if self.in_features <= self.out_features else "W^T W = I"
        return f"W = the first columns of H_1 H_2 ... H_m, so {kept}"

    def violation(self) -> Float[Array, ""]:
        W = self.effective_W()
        return orthonormality(W if self.in_features > self.out_features else W.T)

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        U = jnp.triu(self.U)
        if self.in_features > self.out_features:
            return reflect(x, U)[..., : self.out_features]
        padding = [(0, 0)] * (x.ndim - 1) + [(0, self.out_features - self.in_features)]
        return reflect(jnp.pad(x, padding), U, backwards=True)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        columns = polar(W if self.in_features > self.out_features else W.T)
        many, few = columns.shape
        square = jnp.pad(columns, ((0, 0), (0, many - few)))
        return {"U": vectors_of(square, few)[:few]}


class SchurDecompositionLinear(AbstractSquareMap):
    r"""$W = Q T Q^T$ with $Q$ orthogonal and $T$ made of scaled rotations of the plane.

    Block $k$ of $T$ is $\gamma_k$ times the rotation by $\theta_k$, so the eigenvalues are
    $\gamma_k e^{\pm i \theta_k}$ and $W$ is normal; it is orthogonal where all $\gamma_k = 1$, which is
    where they start and whither `reg_error` draws them.

    `from_matrix` reads planes, angles and factors off the real Schur form (on a CPU). That gives back
    a member; the member nearest to another matrix is not known, and this is the nearest in that basis.

    **Arguments:** `l2`: strength of the penalty $l_2 \, \mathrm{mean}\, (\gamma_k - 1)^2$.

    **Source:** Kerg et al. (2019), *Non-normal recurrent neural network (nnRNN)*, NeurIPS, whose
    normal part this is; neuromancer.slim.
    """

    P: OrthogonalLinear
    theta: Float[Array, " pairs"]
    gamma: Float[Array, " pairs"]
    l2: float = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        l2: Number = 1e-2,
    ):
        bias_key, p_key, theta_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        pairs = even("SchurDecompositionLinear", in_features) // 2
        self.P = OrthogonalLinear(in_features, in_features, key=p_key)
        self.theta = jr.uniform(theta_key, (pairs,), maxval=2 * math.pi)
        self.gamma = jnp.ones(pairs)
        self.l2 = float(l2)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self._multiply(jnp.eye(self.in_features, dtype=self.gamma.dtype), None)

    @property
    def equation(self) -> str:
        return "W = Q T Q^T, T = diag of gamma_k [[cos theta_k, -sin theta_k], [sin theta_k, cos theta_k]]"

    def reg_error(self) -> Float[Array, ""]:
        return self.l2 * jnp.mean((self.gamma - 1) ** 2)

    def violation(self) -> Float[Array, ""]:
        W = at_least_single(self.effective_W())
        scale = jnp.maximum(largest(self.gamma) ** 2, 1)
        return largest(W @ W.T - W.T @ W) / scale

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        U = jnp.triu(self.P.U)
        pairs = reflect(x, U).reshape(*x.shape[:-1], len(self.gamma), 2)
        cos, sin = self.gamma * jnp.cos(self.theta), self.gamma * jnp.sin(self.theta)
        first, second = pairs[..., 0], pairs[..., 1]
        rotated = jnp.stack([first * cos + second * sin, second * cos - first * sin], axis=-1)
        return reflect(rotated.reshape(x.shape), U, backwards=True)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        Z, gamma, theta = planes_of_normal(W)
        return {"P.U": vectors_of(Z, self.in_features), "theta": theta, "gamma": gamma}
