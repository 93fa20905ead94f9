"""Elementwise activations and what is known of them.

One registry, `ACTIVATIONS`: what `jaxinfo.network` recognises in a traced model, from which
`jaxinfo.ei` infers ranges, and by which the exact route inverts a layer.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._core import unknown_name


@dataclasses.dataclass(frozen=True)
class Activation:
    """An elementwise function and its closed range; call it like the function.

    `lower` and `upper` are the infimum and supremum over the real line (infinite where there is
    none).
    """

    name: str
    fn: Callable[[Array], Array]
    lower: float = -math.inf
    upper: float = math.inf

    def __call__(self, x: Array) -> Array:
        return self.fn(x)

    def __repr__(self) -> str:
        return self.name

    @property
    def default_range(self) -> tuple[float, float]:
        """The range over which EI is measured unless told otherwise.

        The function's own bounds, with 10 in place of infinity: sigmoid (0, 1), tanh (-1, 1), ReLU
        (0, 10), identity (-10, 10).
        """
        return max(self.lower, -10.0), min(self.upper, 10.0)


def identity(x: Array) -> Array:
    """$f(x) = x$."""
    return x


_GELU_MINIMUM = -0.16997120747990369  # of x Phi(x)
_TANH_GELU_MINIMUM = -0.17004075
_SILU_MINIMUM = -0.27846454276107380  # of x / (1 + exp(-x))
_SELU_MINIMUM = -1.7580993408473766  # -scale * alpha

ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("identity", identity),
        Activation("sigmoid", jax.nn.sigmoid, 0.0, 1.0),
        Activation("tanh", jnp.tanh, -1.0, 1.0),
        Activation("relu", jax.nn.relu, 0.0),
        Activation("relu6", jax.nn.relu6, 0.0, 6.0),
        Activation("leaky_relu", jax.nn.leaky_relu),
        Activation("softplus", jax.nn.softplus, 0.0),
        Activation("elu", jax.nn.elu, -1.0),
        Activation("selu", jax.nn.selu, _SELU_MINIMUM),
        Activation("gelu", lambda x: jax.nn.gelu(x, approximate=False), _GELU_MINIMUM),
        Activation("gelu_tanh", jax.nn.gelu, _TANH_GELU_MINIMUM),
        Activation("silu", jax.nn.silu, _SILU_MINIMUM),
        Activation("hard_tanh", jax.nn.hard_tanh, -1.0, 1.0),
        Activation("hard_sigmoid", jax.nn.hard_sigmoid, 0.0, 1.0),
        Activation("soft_sign", jax.nn.soft_sign, -1.0, 1.0),
    )
}


def as_activation(activation: str | Callable[[Array], Array] | None) -> Activation:
    """The registry's entry for a name or a function; an unknown function gets a measured range.

    The bounds of a function that is not in the registry are its extremes on a fine grid over
    [-10, 10].
    """
    if activation is None:
        return ACTIVATIONS["identity"]
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            raise unknown_name("activation", activation, ACTIVATIONS)
        return ACTIVATIONS[activation]
    recognised = recognise(activation)
    if recognised is not None:
        return recognised
    with jax.ensure_compile_time_eval():
        values = activation(jnp.linspace(-10.0, 10.0, 4097))
        lower, upper = float(jnp.nanmin(values)), float(jnp.nanmax(values))
    name = getattr(activation, "__name__", type(activation).__name__)
    return Activation(name, activation, lower, upper)


def recognise(fn: Callable[[Array], Array]) -> Activation | None:
    """The registry's entry that computes the same function, or `None`.

    Decided by values, not by name or by code: `jnp.maximum(x, 0)` is ReLU however it is written.
    """
    with jax.ensure_compile_time_eval():
        grid = jnp.concatenate([jnp.linspace(-12.0, 12.0, 97), jnp.array([-1e-3, 1e-3, 0.37])])
        values = fn(grid)
        for activation in ACTIVATIONS.values():
            if jnp.allclose(values, activation(grid), rtol=2e-6, atol=2e-6):
                return activation
    return None
