"""Symmetric and skew-symmetric maps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .._core import public
from ._base import AbstractSquareMap, AbstractWeightMap
from ._numerics import at_least_single, largest, outside, uniform
from ._options import Number, ordered_bounds


@public
class SymmetricLinear(AbstractWeightMap, AbstractSquareMap):
    r"""A symmetric matrix, $W = (A + A^T)/2$, of any square parameter $A$ (`weight`).

    Promises $W = W^T$. The gradient is that of the average of two entries.

    >>> W = SymmetricLinear(3, 3, key=jax.random.key(0)).effective_W()
    >>> bool(jnp.array_equal(W, W.T))
    True

    **Source:** neuromancer.slim.
    """

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return symmetric_part(self.weight)

    @property
    def equation(self) -> str:
        return "W = (A + A^T) / 2"

    def violation(self) -> Float[Array, ""]:
        W = self.effective_W()
        return largest(W - W.T)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"weight": symmetric_part(W)}


@public
class SkewSymmetricLinear(AbstractWeightMap, AbstractSquareMap):
    r"""$W = T - T^T$ with $T$ the upper triangle of `weight`; the rest of `weight` is not used.

    The eigenvalues are purely imaginary.

    **Source:** neuromancer.slim.
    """

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return skew(self.weight)

    @property
    def equation(self) -> str:
        return "W = T - T^T, T the upper triangle of A"

    def violation(self) -> Float[Array, ""]:
        W = self.effective_W()
        return largest(W + W.T)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"weight": jnp.triu(skew_part(W), 1)}


@public
class DampedSkewSymmetricLinear(AbstractSquareMap):
    r"""$W = T - T^T + \gamma I$ with $T$ the upper triangle of `weight`.

    Every eigenvalue has the real part $\gamma$. The sign is the source's: for $\dot x = x W$,
    $\gamma > 0$ means growth, and damping needs bounds below 0; for a recurrent step it is a gain.

    **Arguments:**

    - `sigma_min`, `sigma_max`: bounds of $\gamma$, which starts anywhere between them.
    - `bounded`: clip $\gamma$ into its bounds. Where the clip acts, $\gamma$ has no gradient. In the
        source the bounds serve for the start alone: `from_parameters` leaves $\gamma$ free, unless
        told otherwise, so that a checkpoint keeps its matrix.

    **Source:** neuromancer.slim.
    """

    weight: Float[Array, "in_features out_features"]
    gamma: Float[Array, ""]
    sigma_min: float = eqx.field(static=True)
    sigma_max: float = eqx.field(static=True)
    bounded: bool = eqx.field(static=True)

    _source_options = {"bounded": False}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        sigma_min: Number = 0.1,
        sigma_max: Number = 0.5,
        bounded: bool = True,
    ):
        bias_key, key, gamma_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.sigma_min, self.sigma_max = ordered_bounds(sigma_min, sigma_max)
        self.weight = uniform(key, (in_features, out_features), in_features)
        self.gamma = jr.uniform(gamma_key, (), minval=self.sigma_min, maxval=self.sigma_max)
        self.bounded = bounded

    def damping(self) -> Float[Array, ""]:
        """The $\\gamma$ of the matrix."""
        if not self.bounded:
            return self.gamma
        return jnp.clip(self.gamma, self.sigma_min, self.sigma_max)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        eye = jnp.eye(self.in_features, dtype=self.weight.dtype)
        return skew(self.weight) + self.damping() * eye

    @property
    def equation(self) -> str:
        where = f", {self.sigma_min:g} <= gamma <= {self.sigma_max:g}" if self.bounded else ""
        return f"W = T - T^T + gamma I, T the upper triangle of A{where}"

    def violation(self) -> Float[Array, ""]:
        W = self.effective_W()
        gamma = self.damping()
        residual = largest(symmetric_part(W) - gamma * jnp.eye(self.in_features, dtype=W.dtype))
        if not self.bounded:
            return residual
        return jnp.maximum(residual, outside(gamma, self.sigma_min, self.sigma_max))

    def _translate(self, params: dict[str, Array]) -> dict[str, Array]:
        return {name: array for name, array in params.items() if name != "eye"}

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        gamma = jnp.mean(jnp.diagonal(W))
        if self.bounded:
            gamma = jnp.clip(gamma, self.sigma_min, self.sigma_max)
        return {"weight": jnp.triu(skew_part(W), 1), "gamma": gamma}


@public
class PSDLinear(AbstractWeightMap, AbstractSquareMap):
    r"""$W = A^T A$: symmetric and positive semi-definite.

    **Source:** neuromancer.slim.
    """

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self.weight.T @ self.weight

    @property
    def equation(self) -> str:
        return "W = A^T A"

    def violation(self) -> Float[Array, ""]:
        return spectrum_outside(self.effective_W(), 0.0, jnp.inf)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        values, vectors = jnp.linalg.eigh(symmetric_part(W))
        return {"weight": jnp.sqrt(jax.nn.relu(values))[:, None] * vectors.T}


def symmetric_part(W: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """$(W + W^T)/2$."""
    return (W + W.T) / 2


def spectrum_outside(W: Float[Array, "n n"], lower: float, upper: float) -> Float[Array, ""]:
    """How far `W` is from symmetric, or its worst eigenvalue outside of the bounds, if that is worse."""
    W = at_least_single(W)
    return jnp.maximum(outside(jnp.linalg.eigvalsh(W), lower, upper), largest(W - W.T))


def skew_part(W: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """$(W - W^T)/2$."""
    return (W - W.T) / 2


def skew(weight: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The skew-symmetric matrix with the strict upper triangle of `weight`."""
    upper = jnp.triu(weight, 1)
    return upper - upper.T
