"""Singular values within bounds, with exactly orthogonal factors."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .._core import public
from ._base import AbstractLinearMap, AbstractSquareMap
from ._householder import reflect, vectors_of
from ._linear import resized
from ._numerics import at_least_single, between, outside, unsqueezed
from ._options import Number, ordered_bounds
from ._symmetric import spectrum_outside, symmetric_part


@public
class SpectralLinear(AbstractLinearMap):
    r"""$W = Q_U \Sigma Q_V^T$ with singular values in `[sigma_min, sigma_max]`.

    $Q_U$ and $Q_V$ are products of Householder reflections (rows of `U` and `V` from the diagonal on)
    and $\sigma_i = \sigma_{min} + (\sigma_{max} - \sigma_{min})\,\mathrm{sigmoid}(p_i)$. Neither factor
    is formed to apply the map.

    **Arguments:**

    - `n_U_reflectors`, `n_V_reflectors`: number of reflections in each factor, each by default
        `min(in_features, out_features)`. Fewer make the factors less general; they do not lower the
        rank, which is always full.
    - `sigma_min`, `sigma_max`: bounds of the singular values.

    `from_matrix` clips the singular values; it needs the full number of reflections.

    **Source:** Zhang, Lei and Dhillon (2018), *Stabilizing gradients for deep neural networks via
    efficient SVD parameterization*, arXiv:1803.09327; neuromancer.slim.
    """

    p: Float[Array, " few"]
    U: Float[Array, "in_features in_features"]
    V: Float[Array, "out_features out_features"]
    n_U_reflectors: int = eqx.field(static=True)
    n_V_reflectors: int = eqx.field(static=True)
    sigma_min: float = eqx.field(static=True)
    sigma_max: float = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        n_U_reflectors: int | None = None,
        n_V_reflectors: int | None = None,
        sigma_min: Number = 0.1,
        sigma_max: Number = 1.0,
    ):
        bias_key, p_key, u_key, v_key = jr.split(key, 4)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        few = min(in_features, out_features)
        self.n_U_reflectors = _reflectors("n_U_reflectors", n_U_reflectors, few, in_features)
        self.n_V_reflectors = _reflectors("n_V_reflectors", n_V_reflectors, few, out_features)
        self.sigma_min, self.sigma_max = ordered_bounds(sigma_min, sigma_max, least=0)
        self.p = 0.001 * jr.normal(p_key, (few,))
        self.U = jnp.triu(jr.normal(u_key, (in_features, in_features)))
        self.V = jnp.triu(jr.normal(v_key, (out_features, out_features)))

    def singular_values(self) -> Float[Array, " few"]:
        """The singular values, in no order."""
        return between(-self.p, self.sigma_min, self.sigma_max)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self._multiply(jnp.eye(self.in_features, dtype=self.p.dtype), None)

    @property
    def equation(self) -> str:
        return f"W = Q_U S Q_V^T, {self.sigma_min:g} <= s_i <= {self.sigma_max:g}"

    def violation(self) -> Float[Array, ""]:
        values = jnp.linalg.svd(at_least_single(self.effective_W()), compute_uv=False)
        return outside(values, self.sigma_min, self.sigma_max)

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        x = reflect(x, jnp.triu(self.U)[: self.n_U_reflectors])
        x = resized(x[..., : self.p.size] * self.singular_values(), self.out_features)
        return reflect(x, jnp.triu(self.V)[: self.n_V_reflectors], backwards=True)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        few = self.p.size
        _require_full("n_U_reflectors", self.n_U_reflectors, few)
        _require_full("n_V_reflectors", self.n_V_reflectors, few)
        U, s, Vt = jnp.linalg.svd(W, full_matrices=True)
        return {
            "p": -unsqueezed(s, self.sigma_min, self.sigma_max),
            "U": vectors_of(U, self.n_U_reflectors),
            "V": vectors_of(Vt.T, self.n_V_reflectors),
        }


@public
class SymmetricSpectralLinear(AbstractSquareMap):
    r"""$W = Q \Sigma Q^T$: symmetric, with eigenvalues in `[sigma_min, sigma_max]`.

    $Q$ is a product of Householder reflections (rows of `V` from the diagonal on). See
    `SpectralLinear`.

    **Arguments:**

    - `n_reflectors`: number of reflections in $Q$; by default `in_features`.
    - `sigma_min`, `sigma_max`: bounds of the eigenvalues, which are the singular values.

    `from_matrix` clips the eigenvalues of the symmetric part.

    **Source:** neuromancer.slim.
    """

    p: Float[Array, " n"]
    V: Float[Array, "n n"]
    n_reflectors: int = eqx.field(static=True)
    sigma_min: float = eqx.field(static=True)
    sigma_max: float = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        n_reflectors: int | None = None,
        sigma_min: Number = 0.1,
        sigma_max: Number = 1.0,
    ):
        bias_key, p_key, v_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        n = in_features
        self.n_reflectors = _reflectors("n_reflectors", n_reflectors, n, n)
        self.sigma_min, self.sigma_max = ordered_bounds(sigma_min, sigma_max, least=0)
        self.p = 0.001 * jr.normal(p_key, (n,))
        self.V = jnp.triu(jr.normal(v_key, (n, n)))

    def singular_values(self) -> Float[Array, " n"]:
        """The singular values, which are the eigenvalues, in no order."""
        return between(-self.p, self.sigma_min, self.sigma_max)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        W = self._multiply(jnp.eye(self.in_features, dtype=self.p.dtype), None)
        return symmetric_part(W)  # symmetric to the last bit

    @property
    def equation(self) -> str:
        return f"W = Q S Q^T, {self.sigma_min:g} <= s_i <= {self.sigma_max:g}"

    def violation(self) -> Float[Array, ""]:
        return spectrum_outside(self.effective_W(), self.sigma_min, self.sigma_max)

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        V = jnp.triu(self.V)[: self.n_reflectors]
        return reflect(reflect(x, V) * self.singular_values(), V, backwards=True)

    def _translate(self, params: dict[str, Array]) -> dict[str, Array]:
        return without_shared_factor(params)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        _require_full("n_reflectors", self.n_reflectors, self.in_features)
        values, vectors = jnp.linalg.eigh(symmetric_part(W))
        return {
            "p": -unsqueezed(values, self.sigma_min, self.sigma_max),
            "V": vectors_of(vectors, self.n_reflectors),
        }


def without_shared_factor(params: dict[str, Array]) -> dict[str, Array]:
    """The source stores the one factor of a symmetric map twice, as `U` and as `V`."""
    return {name: array for name, array in params.items() if name != "U" or "V" not in params}


def _reflectors(name: str, given: int | None, default: int, most: int) -> int:
    count = int(default if given is None else given)
    if not 0 <= count <= most:
        raise ValueError(f"`{name}` must lie in 0...{most}; got {count}.")
    return count


def _require_full(name: str, count: int, needed: int) -> None:
    if count < needed:
        raise ValueError(
            f"`from_matrix` needs at least {needed} reflections to reach any matrix; got "
            f"`{name}={count}`."
        )
