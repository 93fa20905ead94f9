"""Effective information as a term of a loss."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Real

from .._core import public
from ..ei import ei, ei_parts, sensitivity
from ..ei._arguments import layers_of
from ..ei._method import AbstractMethod
from ..network import Topology, topology_of

_QUANTITIES = {"ei": ei, "ei_parts": ei_parts, "sensitivity": sensitivity}


@public
def ei_penalty(
    model_or_topology: Topology | Callable[..., Any],
    x: Any = None,
    *,
    layers: Sequence[Any] | None = None,
    quantity: Literal["ei", "ei_parts", "sensitivity"] = "ei_parts",
    method: AbstractMethod,
    weight: Real[ArrayLike, ""],
    key: PRNGKeyArray | None = None,
    **options: Any,
) -> Float[Array, ""]:
    r"""`weight` times the effective information of some layers: a scalar to add to any loss.

    $$\text{penalty} = \text{weight} \sum_{L} EI(L) \quad \text{in bits, so a positive weight
    lowers EI, a negative one raises it.}$$

    **Arguments:**

    - `model_or_topology`, `x`: a model and one example (as for `topology_of`), or a topology and
        nothing. Tracing a model costs Python time only while a step compiles.
    - `layers`: names or modules; by default all layers of the topology.
    - `quantity`: `"ei_parts"`, `"sensitivity"` or `"ei"` (vector).
    - `method`: a differentiable route: `Soft(...)` for any layer, `Exact()` for affine ones.
    - `weight`: loss units per bit; traced, so it can follow a schedule.
    - `key`: for `Soft`. A new key each step makes the penalty stochastic, as batches do for the
        loss; the same key at each step makes it a fixed function of the model.
    - `options`: as for `ei_parts`: `in_range`, `in_bins`, `out_range`, `out_bins`, `out_of_range`,
        for every layer.

    **Gradient:** with respect to the parameters of the model, in both modes; through jit, vmap over
    models and any optimiser.

    **Raises:** `TypeError` when differentiated with a method of hard bins; otherwise as `ei_parts`.

    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> from jaxinfo.ei import Soft
    >>> model = eqx.nn.MLP(4, 1, 3, 1, jax.nn.tanh, key=jax.random.key(0))
    >>> def loss(model, x, y, key):
    ...     error = jnp.mean((jax.vmap(model)(x) - y) ** 2)
    ...     return error + ei_penalty(model, x[0], method=Soft(1000), weight=0.1, key=key,
    ...         layers=["layers.0"], in_range=(-1, 1), in_bins=8, out_bins=8)
    >>> grads = eqx.filter_grad(loss)(model, jnp.ones((2, 4)), jnp.ones((2, 1)), jax.random.key(1))
    >>> bool(jnp.any(grads.layers[0].weight != 0))
    True
    """
    measure = _QUANTITIES[quantity]
    if isinstance(model_or_topology, Topology):
        topology = model_or_topology
    else:
        topology = topology_of(model_or_topology, x)
    bits = [
        measure(layer, topology, key=key, method=method, **options)
        for layer in layers_of(topology, layers)
    ]
    return jnp.multiply(weight, jnp.sum(jnp.stack(bits)))
