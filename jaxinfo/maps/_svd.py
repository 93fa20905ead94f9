"""Singular values within bounds, with factors that a penalty keeps near orthogonal."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .._core import public
from ._base import AbstractLinearMap, AbstractSquareMap
from ._numerics import at_least_single, between, frobenius, outside, unsqueezed
from ._options import Number, ordered_bounds
from ._spectral import without_shared_factor
from ._symmetric import spectrum_outside, symmetric_part


class AbstractSoftSVD(AbstractLinearMap):
    """What `SVDLinear` and `SVDLinearLearnBounds` share: all but where their bounds come from."""

    U: Float[Array, "in_features in_features"]
    V: Float[Array, "out_features out_features"]
    sigma: Float[Array, " few"]
    sigma_min: eqx.AbstractVar[Any]
    sigma_max: eqx.AbstractVar[Any]

    def __init__(self, in_features: int, out_features: int, use_bias: bool, *, key: PRNGKeyArray):
        bias_key, u_key, v_key, sigma_key = jr.split(key, 4)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.U = jr.orthogonal(u_key, in_features)
        self.V = jr.orthogonal(v_key, out_features)
        self.sigma = jr.uniform(sigma_key, (min(in_features, out_features),))

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return product(self.U, between(self.sigma, self.sigma_min, self.sigma_max), self.V)

    def reg_error(self) -> Float[Array, ""]:
        return orthogonality_error(self.U) + orthogonality_error(self.V)

    def _translate(self, params: dict[str, Array]) -> dict[str, Array]:
        return with_few_sigmas(params, self.sigma.size)


@public
class SVDLinear(AbstractSoftSVD):
    r"""$W = U \Sigma V$ with $\sigma_i \in [\sigma_{min}, \sigma_{max}]$ and $U, V$ softly orthogonal.

    $\sigma_i = \sigma_{max} - (\sigma_{max} - \sigma_{min})\,\mathrm{sigmoid}(s_i)$, one for each of the
    `min(in_features, out_features)` singular values. $U$ and $V$ start orthogonal and are free to
    leave: `reg_error`, $\sum_{M = U, V} \|I - M M^T\|_F + \|I - M^T M\|_F$, draws them back, with gradient 0
    where they are exactly orthogonal. The singular values of $W$ keep their bounds as far as the
    factors are orthogonal, which is what `violation` tells. For exact bounds: `SpectralLinear`.

    `from_matrix` clips the singular values.

    **Source:** Drgona et al. (2021), *Physics-constrained deep learning of multi-zone building thermal
    dynamics*; Tuor et al., arXiv:2101.01864; neuromancer.slim.
    """

    sigma_min: float = eqx.field(static=True)
    sigma_max: float = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        sigma_min: Number = 0.1,
        sigma_max: Number = 1.0,
    ):
        super().__init__(in_features, out_features, use_bias, key=key)
        self.sigma_min, self.sigma_max = ordered_bounds(sigma_min, sigma_max, least=0)

    @property
    def equation(self) -> str:
        return f"W = U S V, {self.sigma_min:g} <= s_i <= {self.sigma_max:g}, penalty on U, V"

    def violation(self) -> Float[Array, ""]:
        return outside(_singular_values(self.effective_W()), self.sigma_min, self.sigma_max)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        U, s, Vt = jnp.linalg.svd(W, full_matrices=True)
        return {"U": U, "V": Vt, "sigma": unsqueezed(s, self.sigma_min, self.sigma_max)}


@public
class SVDLinearLearnBounds(AbstractSoftSVD):
    r"""`SVDLinear` whose two bounds are parameters.

    Every singular value lies between the two bounds, whichever is the larger: nothing keeps a gradient
    step from exchanging them, and nothing breaks if it does. `bounds()` gives them in order.

    **Source:** neuromancer.slim.
    """

    sigma_min: Float[Array, ""]
    sigma_max: Float[Array, ""]

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        sigma_min: Number = 0.1,
        sigma_max: Number = 1.0,
    ):
        super().__init__(in_features, out_features, use_bias, key=key)
        low, high = ordered_bounds(sigma_min, sigma_max, least=0)
        self.sigma_min, self.sigma_max = jnp.asarray(low), jnp.asarray(high)

    def bounds(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The learnt bounds of the singular values, the smaller one first."""
        return (
            jnp.minimum(self.sigma_min, self.sigma_max),
            jnp.maximum(self.sigma_min, self.sigma_max),
        )

    @property
    def equation(self) -> str:
        return "W = U S V, sigma_min <= s_i <= sigma_max, both learnt, penalty on U, V"

    def violation(self) -> Float[Array, ""]:
        # A bound below 0 flips the sign of a value, and its magnitude is the singular value.
        low, high = self.bounds()
        least = jnp.where(low * high > 0, jnp.minimum(jnp.abs(low), jnp.abs(high)), 0)
        most = jnp.maximum(jnp.abs(low), jnp.abs(high))
        return outside(_singular_values(self.effective_W()), least, most)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        # The bounds are free: put them a little outside of what there is.
        U, s, Vt = jnp.linalg.svd(W, full_matrices=True)
        low, high = 0.9 * jnp.min(s), 1.1 * jnp.max(s) + jnp.finfo(s.dtype).tiny
        share = (high - s) / (high - low)
        sigma = jnp.log(share) - jnp.log1p(-share)
        return {"U": U, "V": Vt, "sigma": sigma, "sigma_min": low, "sigma_max": high}


@public
class SymmetricSVDLinear(AbstractSquareMap):
    r"""$W = V \Sigma V^T$: symmetric, with eigenvalues in bounds as far as $V$ is orthogonal.

    `reg_error` counts the shared factor twice, as the source does. See `SVDLinear`;
    `SymmetricSpectralLinear` keeps its bounds exactly.

    **Source:** neuromancer.slim.
    """

    V: Float[Array, "n n"]
    sigma: Float[Array, " n"]
    sigma_min: float = eqx.field(static=True)
    sigma_max: float = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        sigma_min: Number = 0.1,
        sigma_max: Number = 1.0,
    ):
        bias_key, v_key, sigma_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.sigma_min, self.sigma_max = ordered_bounds(sigma_min, sigma_max, least=0)
        self.V = jr.orthogonal(v_key, in_features)
        self.sigma = jr.uniform(sigma_key, (in_features,))

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        values = between(self.sigma, self.sigma_min, self.sigma_max)
        return symmetric_part((self.V * values) @ self.V.T)

    @property
    def equation(self) -> str:
        return f"W = V S V^T, {self.sigma_min:g} <= s_i <= {self.sigma_max:g}, penalty on V"

    def reg_error(self) -> Float[Array, ""]:
        return 2 * orthogonality_error(self.V)

    def violation(self) -> Float[Array, ""]:
        return spectrum_outside(self.effective_W(), self.sigma_min, self.sigma_max)

    def _translate(self, params: dict[str, Array]) -> dict[str, Array]:
        return with_few_sigmas(without_shared_factor(params), self.sigma.size)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        values, vectors = jnp.linalg.eigh(symmetric_part(W))
        return {"V": vectors, "sigma": unsqueezed(values, self.sigma_min, self.sigma_max)}


def product(
    U: Float[Array, "n n"], values: Float[Array, " few"], V: Float[Array, "m m"]
) -> Float[Array, "n m"]:
    """$U \\Sigma V$ with a rectangular diagonal $\\Sigma$."""
    return (U[:, : values.size] * values) @ V[: values.size]


def orthogonality_error(M: Float[Array, "n n"]) -> Float[Array, ""]:
    r"""$\|I - M M^T\|_F + \|I - M^T M\|_F$, with gradient 0 where it is 0."""
    eye = jnp.eye(M.shape[0], dtype=M.dtype)
    return frobenius(eye - M @ M.T) + frobenius(eye - M.T @ M)


def with_few_sigmas(params: dict[str, Array], few: int) -> dict[str, Array]:
    """The source stores the singular values as a column, with some that it never uses."""
    if "sigma" not in params:
        return params
    sigma = params["sigma"]
    return {**params, "sigma": sigma[:few, 0] if sigma.ndim == 2 else sigma}


def _singular_values(W: Float[Array, "n m"]) -> Float[Array, " few"]:
    return jnp.linalg.svd(at_least_single(W), compute_uv=False)
