"""From the documented arguments to what is measured, and how."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._core import checked, is_traced, undivided
from ..info import Binning
from ..info._binning import valid_bins
from ..network import Channel, Topology
from ..network._channel import unnamed, valid_range
from ._intervention import Setting
from ._method import AbstractMethod
from ._sampling import Sampling

Range = tuple[Any, Any]
OutRange = Range | Literal["dynamic"] | None
OutBins = int | Literal["dynamic"]
OutOfRange = Literal["drop", "clip"]
ActivationLike = str | Callable[[Array], Array] | None


def channel_of(
    layer: Any, topology: Topology | None, in_layer: Any, activation: ActivationLike
) -> Channel:
    """The channel that `layer` names: a `Channel` itself, or a place in the topology."""
    if isinstance(layer, Channel):
        if in_layer is not None:
            raise ValueError("`in_layer` needs a layer of a topology; got a `Channel` as `layer`.")
        return layer if activation is None else layer.with_activation(activation)
    if topology is None:
        raise ValueError(
            "`topology` may be None only when `layer` is a `Channel`; got layer "
            f"{layer if isinstance(layer, str) else type(layer).__name__!r}. Make one with "
            "`topology_of(model, x)`."
        )
    return topology.channel(layer, in_layer, activation=activation)


def layers_of(topology: Topology, layers: Sequence[Any] | None) -> list[str]:
    """The names of the layers that `layers` lists: by default all of the topology."""
    if layers is None:
        return list(topology.names)
    if isinstance(layers, str) or not layers:
        raise ValueError(
            f"`layers` must be a list of at least one name or module, or None for all; got {layers!r}."
        )
    return [topology.name_of(layer, argument="layers") for layer in layers]


def setting_of(
    channel: Channel,
    in_range: Range | None,
    in_bins: int,
    out_range: OutRange,
    out_bins: OutBins,
    out_of_range: OutOfRange,
    observed_range: Callable[[Setting], tuple[Array, Array]],
    *,
    extend: bool = True,
) -> Setting:
    """The setting of the documented range and bin arguments.

    `observed_range` gives the smallest and the largest value of each output neuron under the
    intervention at hand, for `out_range="dynamic"`; `extend` lets `out_bins="dynamic"` raise the
    upper end of the range to a whole number of input bin widths.
    """
    arrays, rest = eqx.partition(channel, eqx.is_array)
    # The weights of a layer, which may be divided among devices, are measured together.
    channel = eqx.combine(undivided(lambda arrays: arrays, arrays), rest)
    channel = _with_finite_outputs(channel)
    in_range = channel.in_range if in_range is None else in_range
    in_binning = Binning(valid_bins("in_bins", in_bins), *valid_range("in_range", in_range))
    if isinstance(out_range, str):
        # The outputs do not depend on how they will be binned.
        lower, upper = observed_range(Setting(channel, in_binning, in_binning))
    else:
        out_range = channel.out_range if out_range is None else out_range
        lower, upper = valid_range("out_range", out_range)
    if isinstance(out_bins, str):
        out_bins, upper = _bins_of_width(in_binning.width, lower, upper, extend)
    out_bins = valid_bins("out_bins", out_bins)
    return Setting(channel, in_binning, Binning(out_bins, lower, upper, out_of_range=out_of_range))


def _with_finite_outputs(channel: Channel) -> Channel:
    """The channel, checked: NaN or infinite weights would only look like outputs out of range."""
    return checked(
        channel,
        _not_finite(unnamed(channel)),
        f"Channel {channel.name!r} gives NaN or infinity before its activation. Check the weights "
        "and biases that lead to it for NaN, infinity or overflow.",
    )


@eqx.filter_jit
def _not_finite(channel: Channel) -> Bool[Array, ""]:
    probes = (jnp.full(channel.in_shape, value, jnp.result_type(float)) for value in (0.0, 0.5))
    return ~jnp.all(jnp.array([jnp.all(jnp.isfinite(channel.fn(x))) for x in probes]))


def _bins_of_width(width: Array, lower: Any, upper: Any, extend: bool) -> tuple[int, Any]:
    """How many bins as wide as the input's cover the range, and where they end.

    The range becomes a whole number of widths; unless it is to stay, then the bins are narrower.
    """
    span = jnp.max(jnp.asarray(upper) - jnp.asarray(lower))
    if is_traced(span) or is_traced(width):
        raise ValueError(
            "`out_bins='dynamic'` gives a number of bins that depends on values, which `jit` cannot "
            "have. Call outside `jit`, or give `out_bins` as a number."
        )
    # A hair less, so that a range that is a whole number of widths is not given one bin more.
    bins = max(2, math.ceil(float(span / width) - 1e-6))
    return bins, jnp.asarray(lower) + bins * width if extend else upper


def method_from(
    method: AbstractMethod | None,
    samples: int | None,
    batch_size: int | None,
    threshold: float = 0.05,
    extrapolate: bool = False,
) -> AbstractMethod:
    """The route to the joint table: `method`, or the documented arguments in its place."""
    if method is None:
        return Sampling(samples, threshold, extrapolate, batch_size)
    if not isinstance(method, AbstractMethod):
        raise TypeError(
            f"`method` must be a method such as `Sampling()`, `Exact()` or `Soft()`; got {method!r}."
        )
    if samples is not None or extrapolate or batch_size is not None:
        raise ValueError(
            "`samples`, `batch_size` and `extrapolate` describe a `Sampling`; with `method=` given, "
            "put them there: `method=Sampling(samples=..., batch_size=..., extrapolate=...)`."
        )
    return method


def warn_outside(name: str, outside: Float[Array, ""]) -> None:
    """Say so if more than 1% of the samples fell outside the output range and were left out."""
    if not is_traced(outside) and float(outside) > 0.01:
        warnings.warn(
            f"{float(outside):.1%} of the samples of {name!r} fell outside the output range "
            f"(the worst neuron) and were left out of the joint. Widen `out_range`, or pass "
            "`out_range='dynamic'` to take it from the data.",
            stacklevel=3,
        )
