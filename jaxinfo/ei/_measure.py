"""Many layers and quantities at once, each with its error."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from .._core import one_of, public
from ..network import Topology
from ._arguments import OutBins, OutOfRange, OutRange, Range, layers_of, method_from, warn_outside
from ._estimate import Estimate
from ._intervention import Setting
from ._method import AbstractMethod, PairsResult
from ._parts import noise_setting, total
from ._sampling import Sampling
from ._sensitivity import sensitivity_setting
from ._vector import whole

QUANTITIES = ("ei", "ei_parts", "sensitivity")


@public
def measure(
    topology: Topology,
    *,
    layers: Sequence[Any] | None = None,
    quantities: Sequence[str] = QUANTITIES,
    key: PRNGKeyArray | None = None,
    method: AbstractMethod | None = None,
    in_range: Range | None = None,
    in_bins: int = 64,
    out_range: OutRange = None,
    out_bins: OutBins = 64,
    out_of_range: OutOfRange = "drop",
) -> dict[str, dict[str, Estimate]]:
    """Measure several layers and quantities; each answer comes with its error.

    **Arguments:**

    - `layers`: names or modules; by default all layers of the topology.
    - `quantities`: of `"ei"` (vector), `"ei_parts"` and `"sensitivity"`.
    - `method`: `Sampling(samples=...)`; by default 100 000 samples (for sensitivity, of each input).
    - `in_range`, `in_bins`, `out_range`, `out_bins`, `out_of_range`: as for `ei_parts`, for every
        layer.

    **Returns:** `{layer: {quantity: Estimate}}`, in bits. The standard error is that of the delta
    method (`info.standard_error`), with the covariances between pairs; for vector EI it is NaN
    where too many states were seen once, which have no scatter to go by.

    >>> import equinox as eqx, jax, jax.numpy as jnp, jaxinfo
    >>> model = eqx.nn.MLP(3, 2, 4, 1, jax.nn.sigmoid, key=jax.random.key(0))
    >>> topology = jaxinfo.topology_of(model, jnp.zeros(3))
    >>> found = measure(topology, layers=["layers.0"], quantities=["ei_parts"],
    ...     key=jax.random.key(1), method=Sampling(samples=50_000), in_range=(-1, 1), in_bins=8)
    >>> sorted(found["layers.0"])
    ['ei_parts']
    """
    method = method_from(Sampling(samples=100_000) if method is None else method, None, None)
    quantities = (quantities,) if isinstance(quantities, str) else quantities
    for quantity in quantities:
        one_of("quantities", quantity, QUANTITIES)
    found: dict[str, dict[str, Estimate]] = {}
    for name in layers_of(topology, layers):
        channel = topology.channel(name)
        found[name] = {}
        for quantity in quantities:
            setting_of = sensitivity_setting if quantity == "sensitivity" else noise_setting
            setting = setting_of(
                channel, method, key, in_range, in_bins, out_range, out_bins, out_of_range
            )
            estimate = _ESTIMATES[quantity](setting, key, method)
            warn_outside(name, estimate.outside)
            found[name][quantity] = estimate
    return found


def _pairs(result: PairsResult) -> Estimate:
    return Estimate(
        total(result.matrix),
        result.standard_error,
        result.bias,
        result.samples,
        result.outside,
        result.matrix,
    )


def _parts(setting: Setting, key: PRNGKeyArray | None, method: AbstractMethod) -> Estimate:
    return _pairs(method.parts(setting, key, None, with_error=True))


def _sensitivity(setting: Setting, key: PRNGKeyArray | None, method: AbstractMethod) -> Estimate:
    return _pairs(method.sensitivity(setting, key, None, with_error=True))


def _vector(setting: Setting, key: PRNGKeyArray | None, method: AbstractMethod) -> Estimate:
    result = method.vector(setting, key, (whole(setting.channel),))
    error, bias = (jnp.ravel(field)[0] for field in (result.standard_error, result.bias))
    return Estimate(result.values[0], error, bias, result.samples, result.outside)


_ESTIMATES = {"ei": _vector, "ei_parts": _parts, "sensitivity": _sensitivity}
