"""Sensitivity: one input neuron moves, the others are silent."""

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from .._core import public
from ..info import AbstractEstimator
from ..network import Channel, Topology
from ._arguments import (
    ActivationLike,
    OutBins,
    OutOfRange,
    OutRange,
    Range,
    channel_of,
    method_from,
    setting_of,
    warn_outside,
)
from ._intervention import Setting
from ._method import AbstractMethod
from ._parts import total


@public
def sensitivity(
    layer: Any,
    topology: Topology | None,
    *,
    key: PRNGKeyArray | None = None,
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
    r"""Sensitivity of a layer, in **bits**: information through each connection on its own.

    $$Sensitivity(L_1 \to L_2) = \sum_{A \in L_1,\, B \in L_2} I(t_A; t_B) \;\big|\; do(A = H^{\max})$$

    For each input neuron $A$ in turn, $A$ is uniform over `in_range` and every other input is
    exactly 0 (also where 0 is outside `in_range`); biases stay. Arguments, bins, errors and gradient
    are those of `ei_parts`, with 500 `samples` for each $A$ by default. With
    `out_range="dynamic"`, one range covers the values of all outputs under all interventions, and
    `out_bins="dynamic"` divides it into the fewest bins no wider than the input's.

    **Cost:** $O(N n_{in} n_{out})$ counts, and $N n_{in}$ calls of the channel.

    **Source:** Mattsson, Michaud and Hoel (2020), Entropy 22:1429.

    >>> import jax, jax.numpy as jnp, jaxinfo
    >>> mean = jaxinfo.Channel.from_weight(jnp.full((2, 1), 0.5), in_range=(0, 1), out_range=(0, 1))
    >>> bits = sensitivity(mean, None, key=jax.random.key(0), samples=9000, in_bins=8, out_bins=8)
    >>> f"{bits:.1f}"  # each input alone reaches half of the output's bins
    '4.0'
    """
    return total(
        sensitivity_matrix(
            layer,
            topology,
            key=key,
            samples=samples,
            batch_size=batch_size,
            in_layer=in_layer,
            in_range=in_range,
            in_bins=in_bins,
            out_range=out_range,
            out_bins=out_bins,
            out_of_range=out_of_range,
            activation=activation,
            method=method,
            estimator=estimator,
        )
    )


@public
def sensitivity_matrix(
    layer: Any,
    topology: Topology | None,
    *,
    key: PRNGKeyArray | None = None,
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
) -> Float[Array, "n_in n_out"]:
    r"""Sensitivity of each pair of neurons, $I(t_A; t_B) \mid do(A = H^{\max})$, in **bits**.

    Row $A$ is an input neuron, column $B$ an output neuron; `sensitivity` is the sum, and says all
    about arguments, errors, gradient and cost.

    >>> import jax, jax.numpy as jnp, jaxinfo
    >>> wire = jaxinfo.Channel.from_weight(jnp.eye(2), in_range=(0, 1), out_range=(0, 1))
    >>> key = jax.random.key(0)
    >>> sensitivity_matrix(wire, None, key=key, samples=9000, in_bins=8, out_bins=8).round(2)
    Array([[3., 0.],
           [0., 3.]], dtype=float32)
    """
    if method is None and samples is None:
        samples = 500
    method = method_from(method, samples, batch_size)
    channel = channel_of(layer, topology, in_layer, activation)
    setting = sensitivity_setting(
        channel, method, key, in_range, in_bins, out_range, out_bins, out_of_range
    )
    result = method.sensitivity(setting, key, estimator)
    warn_outside(channel.name, result.outside)
    return result.matrix


def sensitivity_setting(
    channel: Channel,
    method: AbstractMethod,
    key: PRNGKeyArray | None,
    in_range: Range | None,
    in_bins: int,
    out_range: OutRange,
    out_bins: OutBins,
    out_of_range: OutOfRange,
) -> Setting:
    """The setting of the documented arguments, with ranges observed one input at a time."""

    def observed(setting: Setting) -> tuple[Array, Array]:
        return method.silent_range(setting, key)

    return setting_of(
        channel, in_range, in_bins, out_range, out_bins, out_of_range, observed, extend=False
    )
