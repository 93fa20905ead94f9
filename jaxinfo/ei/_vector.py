"""Vector EI: whole layers, or groups of neurons, as single variables."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from .._core import public
from ..info import AbstractEstimator, PlugIn
from ..network import Channel, Topology
from ._arguments import (
    ActivationLike,
    OutBins,
    OutOfRange,
    OutRange,
    Range,
    channel_of,
    method_from,
    warn_outside,
)
from ._intervention import Setting
from ._method import AbstractMethod, Group
from ._parts import measured_parts, noise_setting, total


@public
def ei(
    layer: Any,
    topology: Topology | None,
    *,
    key: PRNGKeyArray | None = None,
    threshold: float = 0.05,
    samples: int | None = None,
    batch_size: int | None = None,
    in_layer: Any = None,
    in_range: Range | None = None,
    in_bins: int = 64,
    out_range: OutRange = None,
    out_bins: OutBins = 64,
    out_of_range: OutOfRange = "drop",
    activation: ActivationLike = None,
    method: AbstractMethod | None = None,
    estimator: AbstractEstimator | None = None,
) -> Float[Array, ""]:
    r"""Effective information of a layer as a whole, in **bits**.

    $$EI(L_1 \to L_2) = I(L_1; L_2) \;\big|\; do(L_1 = H^{\max})$$

    The state of a layer is the vector of the bin numbers of all its neurons, and $I$ is the plug-in
    mutual information of these vectors. Arguments are those of `ei_parts`; a sample is left out
    when any output neuron is out of range. Without `samples`, their number doubles from 10 000
    until doubling adds less than `threshold` bits. `estimator` can only be `PlugIn()`.

    **Returns:** a scalar between 0 and the smaller entropy. Note that $N$ samples cannot show more
    than $\log_2 N$ bits: a layer of thirty neurons has far more states than can be drawn, and then
    the answer says how many samples there were. Use few bins and small groups
    (`eis_between_groups`), or `ei_parts`.

    **Gradient, errors:** as `ei_parts`. **Cost:** $O(N)$ time and memory: a packed row a sample.

    **Source:** Mattsson, Michaud and Hoel (2020), Entropy 22:1429.

    >>> import jax, jax.numpy as jnp, jaxinfo
    >>> wire = jaxinfo.Channel.from_weight(jnp.eye(2), in_range=(0, 1), out_range=(0, 1))
    >>> bits = ei(wire, None, key=jax.random.key(0), samples=50_000, in_bins=4, out_bins=4)
    >>> f"{bits:.2f}"
    '4.00'
    """
    _plug_in_only(estimator)
    method = method_from(method, samples, batch_size, threshold)
    channel = channel_of(layer, topology, in_layer, activation)
    setting = noise_setting(
        channel, method, key, in_range, in_bins, out_range, out_bins, out_of_range
    )
    return _measured(setting, key, method, (whole(channel),))[0]


@public
def eis_between_groups(
    layer: Any,
    topology: Topology | None,
    groups: Sequence[Sequence[Sequence[int]]],
    *,
    key: PRNGKeyArray | None = None,
    threshold: float = 0.05,
    samples: int | None = None,
    batch_size: int | None = None,
    in_layer: Any = None,
    in_range: Range | None = None,
    in_bins: int = 64,
    out_range: OutRange = None,
    out_bins: OutBins = 64,
    out_of_range: OutOfRange = "drop",
    activation: ActivationLike = None,
    method: AbstractMethod | None = None,
    estimator: AbstractEstimator | None = None,
) -> Float[Array, " groups"]:
    """Vector EI between groups of neurons, in **bits**, all from the same samples.

    `groups` is a list of pairs `(inputs, outputs)` of neuron numbers: `[((1, 2, 3), (1,))]` asks
    what inputs 1, 2 and 3 together tell output 1 while all other inputs are noise. A sample is left
    out of a group when an output *of that group* is out of range. Otherwise as `ei`.

    **Returns:** one number a group, in order.

    **Raises:** also `ValueError` for an empty group, a repeated neuron or one that does not exist.

    >>> import jax, jax.numpy as jnp, jaxinfo
    >>> wire = jaxinfo.Channel.from_weight(jnp.eye(2), in_range=(0, 1), out_range=(0, 1))
    >>> groups = [((0,), (0,)), ((0,), (1,)), ((0, 1), (1,))]
    >>> key = jax.random.key(0)
    >>> eis_between_groups(wire, None, groups, key=key, samples=9000, in_bins=4, out_bins=4).round(1)
    Array([2., 0., 2.], dtype=float32)
    """
    _plug_in_only(estimator)
    method = method_from(method, samples, batch_size, threshold)
    channel = channel_of(layer, topology, in_layer, activation)
    if not len(groups):
        raise ValueError("`groups` must hold at least one pair (inputs, outputs); it is empty.")
    checked_groups = tuple(_valid_group(group, channel) for group in groups)
    setting = noise_setting(
        channel, method, key, in_range, in_bins, out_range, out_bins, out_of_range
    )
    return _measured(setting, key, method, checked_groups)


@public
def vector_and_pairwise_ei(
    layer: Any,
    topology: Topology | None,
    *,
    key: PRNGKeyArray | None = None,
    threshold: float = 0.05,
    samples: int | None = None,
    batch_size: int | None = None,
    in_layer: Any = None,
    in_range: Range | None = None,
    in_bins: int = 64,
    out_range: OutRange = None,
    out_bins: OutBins = 64,
    out_of_range: OutOfRange = "drop",
    activation: ActivationLike = None,
    method: AbstractMethod | None = None,
    estimator: AbstractEstimator | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`(ei, ei_parts)` of a layer from the same samples, in **bits**.

    With a fixed number of `samples`, both see the very same ones; without, each doubles until it
    has settled, and the one that needs more sees more of the same sequence. Arguments are those of
    `ei_parts`.

    >>> import jax, jax.numpy as jnp, jaxinfo
    >>> wire = jaxinfo.Channel.from_weight(jnp.eye(2), in_range=(0, 1), out_range=(0, 1))
    >>> key = jax.random.key(0)
    >>> both = vector_and_pairwise_ei(wire, None, key=key, samples=50_000, in_bins=4, out_bins=4)
    >>> [f"{bits:.2f}" for bits in both]
    ['4.00', '4.00']
    """
    method = method_from(method, samples, batch_size, threshold)
    channel = channel_of(layer, topology, in_layer, activation)
    setting = noise_setting(
        channel, method, key, in_range, in_bins, out_range, out_bins, out_of_range
    )
    vector = _measured(setting, key, method, (whole(channel),))[0]
    return vector, total(measured_parts(setting, key, method, estimator))


def _plug_in_only(estimator: AbstractEstimator | None) -> None:
    if estimator is not None and not isinstance(estimator, PlugIn):
        raise ValueError(
            f"`estimator` must be `PlugIn()` or None for vector EI; got {estimator!r}. Corrections "
            "need a table whose cells are seen many times, and most states of a vector are not."
        )


def whole(channel: Channel) -> Group:
    """The group of all inputs and all outputs."""
    return tuple(range(channel.n_in)), tuple(range(channel.n_out))


def _valid_group(group: Sequence[Sequence[int]], channel: Channel) -> Group:
    if len(group) != 2:
        raise ValueError(f"A group must be a pair (inputs, outputs) of neurons; got {group!r}.")
    for side, neurons, count in zip(
        ("input", "output"), group, (channel.n_in, channel.n_out), strict=True
    ):
        wrong = [i for i in neurons if not 0 <= i < count]
        if wrong or not neurons or len(set(neurons)) < len(neurons):
            raise ValueError(
                f"A group must name {side} neurons of {channel.name!r}, each once, at least one, "
                f"from 0 to {count - 1}; got {tuple(neurons)}."
            )
    inputs, outputs = (tuple(int(i) for i in side) for side in group)
    return inputs, outputs


def _measured(
    setting: Setting,
    key: PRNGKeyArray | None,
    method: AbstractMethod,
    groups: tuple[Group, ...],
) -> Float[Array, " groups"]:
    result = method.vector(setting, key, groups)
    warn_outside(setting.channel.name, result.outside)
    return result.values
