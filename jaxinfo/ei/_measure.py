"""Many layers and quantities at once, each with its error."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._core import one_of
from ..network import Topology
from ._arguments import Range, estimator_or_default, warn_outside
from ._estimate import Estimate
from ._parts import measure_parts, noise_setting
from ._sampling import Sampling
from ._sensitivity import measure_sensitivity, sensitivity_setting
from ._vector import measure_vector, whole

QUANTITIES = ("ei", "ei_parts", "sensitivity")
_GROUPS = 10  # of samples, whose scatter gives the standard error


def measure(
    topology: Topology,
    *,
    layers: Sequence[Any] | None = None,
    quantities: Sequence[str] = QUANTITIES,
    key: PRNGKeyArray,
    method: Sampling | None = None,
    in_range: Range | None = None,
    in_bins: int = 64,
    out_range: Any = None,
    out_bins: Any = 64,
) -> dict[str, dict[str, Estimate]]:
    """Measure several layers and quantities; each answer comes with its error.

    **Arguments:**

    - `layers`: names or modules; by default all layers of the topology.
    - `quantities`: of `"ei"` (vector), `"ei_parts"` and `"sensitivity"`.
    - `method`: `Sampling(samples=...)`; by default 100 000 samples (for sensitivity, of each input).
    - `in_range`, `in_bins`, `out_range`, `out_bins`: as for `ei_parts`, for every layer.

    **Returns:** `{layer: {quantity: Estimate}}`, in bits. The standard error is that of the mean of
    ten groups of the samples; for vector EI it is NaN: states seen once have no scatter to go by.

    >>> import equinox as eqx, jax, jax.numpy as jnp, jaxinfo
    >>> model = eqx.nn.MLP(3, 2, 4, 1, jax.nn.sigmoid, key=jax.random.key(0))
    >>> topology = jaxinfo.topology_of(model, jnp.zeros(3))
    >>> found = measure(topology, layers=["layers.0"], quantities=["ei_parts"],
    ...     key=jax.random.key(1), method=Sampling(samples=50_000), in_range=(-1, 1), in_bins=8)
    >>> sorted(found["layers.0"])
    ['ei_parts']
    """
    sampling = Sampling(samples=100_000) if method is None else method
    for quantity in quantities:
        one_of("quantities", quantity, QUANTITIES)
    found: dict[str, dict[str, Estimate]] = {}
    names = topology.names if layers is None else [topology.name_of(layer) for layer in layers]
    for name in names:
        channel = topology.channel(name)
        found[name] = {}
        for quantity in quantities:
            setting_of = sensitivity_setting if quantity == "sensitivity" else noise_setting
            setting = setting_of(channel, sampling, key, in_range, in_bins, out_range, out_bins)
            estimate = _ESTIMATES[quantity](setting, key, sampling)
            warn_outside(name, estimate.outside)
            found[name][quantity] = estimate
    return found


def _parts(setting: Any, key: PRNGKeyArray, sampling: Sampling) -> Estimate:
    groups = _GROUPS if sampling.samples is not None and not sampling.extrapolate else 0
    result = measure_parts(setting, key, sampling, estimator_or_default(None), groups)
    return Estimate(
        jnp.sum(result.matrix),
        _standard_error(result.group_sums),
        jnp.where(sampling.extrapolate, 0.0, result.bias),
        result.samples,
        result.outside,
    )


def _sensitivity(setting: Any, key: PRNGKeyArray, sampling: Sampling) -> Estimate:
    result = measure_sensitivity(setting, key, sampling, estimator_or_default(None), _GROUPS)
    return Estimate(
        jnp.sum(result.matrix),
        _standard_error(result.group_sums),
        result.bias,
        jnp.asarray(sampling.most_samples),
        result.outside,
    )


def _vector(setting: Any, key: PRNGKeyArray, sampling: Sampling) -> Estimate:
    result = measure_vector(setting, key, sampling, (whole(setting.channel),))
    unknown = jnp.array(jnp.nan)
    return Estimate(result.values[0], unknown, unknown, result.samples, result.outside)


_ESTIMATES = {"ei": _vector, "ei_parts": _parts, "sensitivity": _sensitivity}


def _standard_error(group_values: Float[Array, " groups"]) -> Float[Array, ""]:
    """That of the mean of equal groups; NaN where there are none."""
    n = group_values.shape[0]
    return jnp.std(group_values, ddof=1) / n**0.5 if n > 1 else jnp.array(jnp.nan)
