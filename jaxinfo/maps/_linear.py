"""Linear maps without a constraint, and the identity."""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .._core import checked, public
from ._base import AbstractLinearMap
from ._numerics import uniform


class AbstractTransposedMap(AbstractLinearMap):
    """The base of maps of a free matrix that is stored transposed, as Equinox and PyTorch do."""

    weight: Float[Array, "out_features in_features"]

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.weight = uniform(key, (out_features, in_features), in_features)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self.weight.T

    def _translate(self, params: dict[str, Array]) -> dict[str, Array]:
        return without_duplicates(params)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"weight": W.T}


@public
class Linear(AbstractTransposedMap):
    """A free matrix: what `equinox.nn.Linear` is, with the methods of a map.

    The weight is stored transposed, `(out_features, in_features)`, as Equinox and PyTorch do.

    **Source:** neuromancer.slim.
    """

    @property
    def equation(self) -> str:
        return "W = weight^T"


@public
class IdentityInitLinear(AbstractTransposedMap):
    """A free matrix that starts as the identity, with bias 0.

    Of a rectangular shape, the identity keeps the first coordinates and fills up with zeros. The
    weight is stored as in `Linear`.

    **Source:** neuromancer.slim.
    """

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        super().__init__(in_features, out_features, use_bias, key=key)
        self.weight = jnp.eye(out_features, in_features)
        self.bias = jnp.zeros(out_features) if use_bias else None

    @property
    def equation(self) -> str:
        return "W = weight^T, at first I"


@public
class IdentityLinear(AbstractLinearMap):
    """The identity as a map. It holds no arrays, so nothing can train it or decay it.

    Of a rectangular shape, it keeps the first coordinates and fills up with zeros. `use_bias` is
    accepted for the sake of code that builds any map: the bias would be frozen at 0, so there is
    none.

    **Raises:** `ValueError` from `from_parameters` if `weight` is not the identity.

    **Source:** neuromancer.slim.
    """

    _fast = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray | None = None,
    ):
        key = jr.key(0) if key is None else key  # nothing is drawn
        super().__init__(in_features, out_features, False, key=key)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return jnp.eye(self.in_features, self.out_features)

    @property
    def equation(self) -> str:
        return "W = I"

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        return resized(x, self.out_features)

    def _translate(self, params: dict[str, Array]) -> dict[str, Array]:
        params = without_duplicates(params)
        weight = params.pop("weight", None)
        if weight is not None:
            eye = jnp.eye(self.out_features, self.in_features)
            changed = jnp.any(weight != eye) if weight.shape == eye.shape else True
            checked(weight, changed, "The `weight` of `IdentityLinear` must be the identity.")
        return params

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {}


def without_duplicates(params: dict[str, Array]) -> dict[str, Array]:
    """The source stores the arrays of its inner `torch.nn.Linear` twice."""
    return {name: array for name, array in params.items() if not name.startswith("linear.")}


def resized(x: Inexact[Array, "*batch old"], size: int) -> Inexact[Array, "*batch new"]:
    """The first `size` coordinates, filled up with zeros."""
    missing = size - x.shape[-1]
    if missing <= 0:
        return x[..., :size]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
