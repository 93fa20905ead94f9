"""Maps made of non-negative parts: splittings and sparse matrices."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, Inexact, PRNGKeyArray

from .._core import public
from ._base import AbstractLinearMap
from ._numerics import largest, uniform
from ._options import Number


@jax.custom_jvp
def _identity_grad_relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.maximum(x, 0)


_identity_grad_relu.defjvps(lambda tangent, value, x: tangent)


@public
def identity_grad_relu(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\max(x, 0)$ with the gradient of the identity, 1 everywhere.

    So an entry that the projection holds at 0 still feels the loss and can come back.

    >>> import jax
    >>> jax.grad(identity_grad_relu)(-2.0)
    Array(1., dtype=float32, ...)
    """
    return _identity_grad_relu(jnp.asarray(x))


@public
class NonNegativeLinear(AbstractLinearMap):
    r"""$W = \max(A, 0)$, entry by entry. Starts at a tenth of the usual magnitude.

    An entry of $A$ below 0 has no gradient until weight decay or another term moves it.

    **Source:** neuromancer.slim.
    """

    weight: Float[Array, "in_features out_features"]

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.weight = 0.1 * jnp.abs(uniform(key, (in_features, out_features), in_features))

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return jax.nn.relu(self.weight)

    @property
    def equation(self) -> str:
        return "W = max(A, 0)"

    def violation(self) -> Float[Array, ""]:
        return largest(jnp.minimum(self.effective_W(), 0))

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"weight": jax.nn.relu(W)}


@public
class SplitLinear(AbstractLinearMap):
    r"""$W = B - C$ with $B, C \ge 0$ entry by entry: any matrix, split into its two signs.

    **Source:** neuromancer.slim; https://en.wikipedia.org/wiki/Matrix_splitting
    """

    B: NonNegativeLinear
    C: NonNegativeLinear

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        bias_key, b_key, c_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.B = NonNegativeLinear(in_features, out_features, key=b_key)
        self.C = NonNegativeLinear(in_features, out_features, key=c_key)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self.B.effective_W() - self.C.effective_W()

    @property
    def equation(self) -> str:
        return "W = B - C, B >= 0, C >= 0"

    def violation(self) -> Float[Array, ""]:
        return jnp.maximum(self.B.violation(), self.C.violation())

    def _translate(self, params: dict[str, Array]) -> dict[str, Array]:
        return without_inner_biases(params)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"B.weight": jax.nn.relu(W), "C.weight": jax.nn.relu(-W)}


class AbstractLasso(AbstractLinearMap):
    """All that the two Lasso maps are; they differ in name alone."""

    u_param: Float[Array, "in_features out_features"]
    v_param: Float[Array, "in_features out_features"]
    gamma: float = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        gamma: Number = 1.0,
    ):
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        scale = math.sqrt(2 / in_features) / 2
        parts = scale * jnp.abs(jr.normal(key, (2, in_features, out_features)))
        self.u_param, self.v_param = parts
        self.gamma = float(gamma)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return jax.nn.relu(self.u_param) - jax.nn.relu(self.v_param)

    def reg_error(self) -> Float[Array, ""]:
        return self.gamma * jnp.sum(jnp.abs(self.effective_W()))

    @property
    def equation(self) -> str:
        return f"W = max(u, 0) - max(v, 0), penalty {self.gamma:g} |W|_1"

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"u_param": jax.nn.relu(W), "v_param": jax.nn.relu(-W)}


@public
class LassoLinear(AbstractLasso):
    r"""$W = \max(u, 0) - \max(v, 0)$, with the penalty $\gamma \sum_{ij} |W_{ij}|$.

    Both parts can be exactly 0, so a penalised entry becomes exactly 0 instead of hovering about it.
    The projection is part of the matrix: no call writes to a parameter, and the matrix is the same
    before and after one. An entry of $u$ or $v$ below 0 has no gradient.

    **Arguments:** `gamma`: strength of the penalty.

    **Source:** Bottou (2010), *Large-scale machine learning with stochastic gradient descent*;
    neuromancer.slim.
    """


@public
class LassoLinearRELU(AbstractLasso):
    """The same map as `LassoLinear`, under its other documented name.

    In the source the two differ in when they project: `LassoLinear` overwrites its parameters at
    each call, this one takes the ReLU inside the matrix. Here both do the latter.

    **Source:** neuromancer.slim.
    """


def without_inner_biases(params: dict[str, Array]) -> dict[str, Array]:
    """The source gives each half of a splitting a bias that it never uses."""
    return {name: array for name, array in params.items() if name not in ("B.bias", "C.bias")}
