"""Sensitivity: one input neuron moves, the others are silent."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..info import AbstractEstimator, PairHistogram
from ..network import Channel, Topology
from ._arguments import (
    ActivationLike,
    OutBins,
    OutRange,
    Range,
    batch_blocks,
    channel_of,
    estimator_or_default,
    require_key,
    sampling_from,
    setting_of,
    warn_outside,
)
from ._intervention import Bounds, Setting, fold_batches, no_bounds, widen
from ._sampling import Sampling


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
    activation: ActivationLike = None,
    method: Sampling | None = None,
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
    return jnp.sum(
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
            activation=activation,
            method=method,
            estimator=estimator,
        )
    )


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
    activation: ActivationLike = None,
    method: Sampling | None = None,
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
    sampling = sampling_from(method, samples, batch_size)
    channel = channel_of(layer, topology, in_layer, activation)
    setting = sensitivity_setting(channel, sampling, key, in_range, in_bins, out_range, out_bins)
    result = measure_sensitivity(
        setting, require_key(key), sampling, estimator_or_default(estimator)
    )
    warn_outside(channel.name, result.outside)
    return result.matrix


def sensitivity_setting(
    channel: Channel,
    sampling: Sampling,
    key: PRNGKeyArray | None,
    in_range: Range | None,
    in_bins: int,
    out_range: OutRange,
    out_bins: OutBins,
) -> Setting:
    """The setting of the documented arguments, with ranges observed one input at a time."""

    def observed(setting: Setting) -> tuple[Array, Array]:
        return _observed_range(setting, require_key(key), sampling)

    return setting_of(channel, in_range, in_bins, out_range, out_bins, observed, extend=False)


class SensitivityResult(eqx.Module):
    """What one pass over the samples of every input says of all pairs."""

    matrix: Float[Array, "n_in n_out"]
    group_sums: Float[Array, " groups"]
    bias: Float[Array, ""]
    outside: Float[Array, ""]


@eqx.filter_jit
def measure_sensitivity(
    setting: Setting,
    key: PRNGKeyArray,
    sampling: Sampling,
    estimator: AbstractEstimator,
    groups: int = 0,
) -> SensitivityResult:
    """Estimate every pair, an input neuron at a time.

    With `groups`, the samples are also estimated group by group, for the scatter.
    """
    in_bins, out_bins = setting.in_binning.bins, setting.out_binning.bins
    none = PairHistogram.zeros(1, setting.channel.n_out, in_bins, out_bins)
    n = sampling.most_samples

    def one_input(a: Array) -> SensitivityResult:
        def step(histogram: PairHistogram, x: Array, valid: Array) -> PairHistogram:
            i = jnp.where(valid, setting.in_binning.index(x[:, a]), -1)
            j = setting.out_binning.index(setting.outputs(_alone(x, a)))
            samples = jnp.sum(valid, dtype=jnp.int32)
            return histogram.update(i[:, None], j, samples=samples)

        def count(start: int | Array, stop: int | Array) -> PairHistogram:
            blocks = batch_blocks(setting.channel, sampling.batch_size or n)
            return fold_batches(setting, key, start, stop, blocks, step, none)

        histogram = count(0, n)
        size = n // max(groups, 1)
        starts = jnp.arange(groups) * size
        sums = jax.lax.map(
            lambda start: jnp.sum(estimator(count(start, start + size).counts)), starts
        )
        return SensitivityResult(
            estimator(histogram.counts),
            sums,
            jnp.sum(estimator.bias(histogram.counts)),
            jnp.max(histogram.outside) / histogram.samples,
        )

    each = jax.lax.map(one_input, jnp.arange(setting.channel.n_in))
    return SensitivityResult(
        each.matrix[:, 0],
        jnp.sum(each.group_sums, axis=0),
        jnp.sum(each.bias),
        jnp.max(each.outside),
    )


@eqx.filter_jit
def _observed_range(
    setting: Setting, key: PRNGKeyArray, sampling: Sampling
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    n = sampling.most_samples
    blocks = batch_blocks(setting.channel, sampling.batch_size or n)

    def one_input(a: Array) -> Bounds:
        def step(bounds: Bounds, x: Array, valid: Array) -> Bounds:
            return widen(setting, bounds, _alone(x, a), valid)

        return fold_batches(setting, key, 0, n, blocks, step, no_bounds(setting))

    lower, upper = jax.lax.map(one_input, jnp.arange(setting.channel.n_in))
    return jnp.min(lower), jnp.max(upper)


def _alone(x: Float[Array, "n n_in"], a: Array) -> Float[Array, "n n_in"]:
    """The samples with every input but `a` silent."""
    return jnp.where(jnp.arange(x.shape[1]) == a, x, 0)
