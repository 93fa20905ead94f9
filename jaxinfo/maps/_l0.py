"""A matrix with stochastic gates on its entries."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, Inexact, PRNGKeyArray

from .._core import as_inexact, nan_where, public
from ._base import AbstractLinearMap
from ._linear import Linear
from ._loading import fill
from ._numerics import uniform
from ._options import Number

_LOW, _HIGH = -0.1, 1.1  # the concrete distribution is stretched from (0, 1) to this interval
_EPSILON = 1e-6


@public
class L0Linear(AbstractLinearMap):
    r"""$W = z \odot A$ with random gates $z_{ij} \in [0, 1]$ that may be exactly 0.

    $z = \min(1, \max(0, s))$ with $s$ from the concrete distribution stretched to $(-0.1, 1.1)$. One
    gate for each weight. Without a key a call is an evaluation: the gates take their most typical
    value, $\min(1, \max(0, 1.2\,\mathrm{sigmoid}(\text{qz\_loga}) - 0.1))$, and nothing is random. With a
    key, `m(x, key=key)`, they are drawn, once for all rows of `x`; `m.sampled(key)` draws them once
    for as many calls as one likes (a recurrent model, a whole sequence).

    $$\text{reg\_error} = \sum_{ij} P(z_{ij} > 0)\,(\lambda + \tfrac12 w_d A_{ij}^2) + \tfrac12 w_d \|b\|^2$$

    **Arguments:**

    - `use_bias`: `True` unless told otherwise, as in the source.
    - `weight_decay`: $w_d$, strength of the L2 part.
    - `droprate_init`: probability, strictly between 0 and 1, that a gate starts closed.
    - `temperature`: of the concrete distribution.
    - `lamda`: $\lambda$, strength of the L0 part.

    **Source:** Louizos, Welling and Kingma (2018), *Learning sparse neural networks through L0
    regularization*, arXiv:1712.01312; neuromancer.slim, whose program returns the penalty with the
    opposite sign, and counts each weight once for each column.
    """

    weight: Float[Array, "in_features out_features"]
    qz_loga: Float[Array, "in_features out_features"]
    weight_decay: float = eqx.field(static=True)
    temperature: float = eqx.field(static=True)
    lamda: float = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = True,
        *,
        key: PRNGKeyArray,
        weight_decay: Number = 1.0,
        droprate_init: Number = 0.5,
        temperature: Number = 2 / 3,
        lamda: Number = 1.0,
    ):
        bias_key, key, gate_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        if not 0 < droprate_init < 1:
            raise ValueError(
                f"`droprate_init` must lie strictly between 0 and 1; got {droprate_init:g}."
            )
        if temperature <= 0:
            raise ValueError(f"`temperature` must be positive; got {temperature:g}.")
        shape = (in_features, out_features)
        self.weight = uniform(key, shape, in_features)
        start = math.log(1 - droprate_init) - math.log(droprate_init)
        self.qz_loga = start + 0.01 * jr.normal(gate_key, shape)
        self.weight_decay = float(weight_decay)
        self.temperature = float(temperature)
        self.lamda = float(lamda)

    @public
    def cdf_qz(self, x: Float[ArrayLike, "*shape"]) -> Float[Array, "*both"]:
        """Probability that the stretched variable of each gate is at most `x`.

        `x` broadcasts against the matrix: a number, or an array with two trailing axes such as
        `(k, 1, 1)`. Kept within $[10^{-6}, 1 - 10^{-6}]$, also outside of $(-0.1, 1.1)$.
        """
        share = (as_inexact(x) - _LOW) / (_HIGH - _LOW)
        inside = (share > 0) & (share < 1)
        share_inside = jnp.where(inside, share, 0.5)
        logits = jnp.log(share_inside) - jnp.log1p(-share_inside)
        p = jax.nn.sigmoid(logits * self.temperature - self.qz_loga)
        p = jnp.where(inside, p, jnp.where(share <= 0, 0.0, 1.0))
        return nan_where(jnp.isnan(share), jnp.clip(p, _EPSILON, 1 - _EPSILON))

    @public
    def quantile_concrete(self, u: Float[ArrayLike, "*shape"]) -> Float[Array, "*both"]:
        """The stretched variable at the quantiles `u` in (0, 1): the inverse of its distribution."""
        u = as_inexact(u)
        logits = (jnp.log(u) - jnp.log1p(-u) + self.qz_loga) / self.temperature
        return jax.nn.sigmoid(logits) * (_HIGH - _LOW) + _LOW

    @public
    def gates(self, key: PRNGKeyArray | None = None) -> Float[Array, "in_features out_features"]:
        """The gates: drawn with a key, at their evaluation values without."""
        if key is None:
            stretched = jax.nn.sigmoid(self.qz_loga) * (_HIGH - _LOW) + _LOW
        else:
            dtype = self.qz_loga.dtype
            u = jr.uniform(key, self.qz_loga.shape, minval=_EPSILON, maxval=1 - _EPSILON)
            stretched = self.quantile_concrete(u).astype(dtype)
        return jnp.clip(stretched, 0, 1)

    @public
    def sampled(self, key: PRNGKeyArray) -> Linear:
        """A `Linear` with one draw of the gates applied to the weight: differentiable, and fixed."""
        template = Linear._template(self.in_features, self.out_features, self.use_bias, {})
        arrays = {"weight": self.effective_W(key).T, "bias": self.bias}
        return fill(template, {k: v for k, v in arrays.items() if v is not None})

    @public
    def effective_W(
        self, key: PRNGKeyArray | None = None
    ) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self.gates(key) * self.weight

    @property
    def equation(self) -> str:
        return f"W = z * A, gates z in [0, 1], penalty {self.lamda:g} E|z|_0"

    def reg_error(self) -> Float[Array, ""]:
        per_weight = self.lamda + self.weight_decay / 2 * self.weight**2
        penalty = jnp.sum((1 - self.cdf_qz(0.0)) * per_weight)
        if self.bias is None:
            return penalty
        return penalty + self.weight_decay / 2 * jnp.sum(self.bias**2)

    def _matrix(self, key: PRNGKeyArray | None) -> Inexact[Array, "in_features out_features"]:
        return self.effective_W(key)

    def _translate(self, params: dict[str, Array]) -> dict[str, Array]:
        constants = {
            *("prior_prec", "temperature", "droprate_init", "lamda"),
            *("limit_a", "limit_b", "epsilon"),
        }
        return {name: array for name, array in params.items() if name not in constants}

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        # Gates that an evaluation opens fully.
        return {"weight": W, "qz_loga": jnp.full_like(W, 4.0)}
