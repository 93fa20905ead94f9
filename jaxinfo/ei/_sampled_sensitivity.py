"""Counting every pair while one input moves and the others are silent."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..info import AbstractEstimator, PairHistogram
from ._draws import AbstractSampling, Counted
from ._intervention import Bounds, Setting, fold_batches, no_bounds, widen
from ._method import PairsResult


@eqx.filter_jit
def measure_sensitivity(
    setting: Setting,
    key: PRNGKeyArray,
    sampling: AbstractSampling,
    estimator: AbstractEstimator,
    groups: int = 0,
) -> PairsResult:
    """Estimate every pair, an input neuron at a time.

    With `groups`, the samples are also estimated group by group, for the scatter.
    """
    in_bins, out_bins = setting.in_binning.bins, setting.out_binning.bins
    none = PairHistogram.zeros(1, setting.channel.n_out, in_bins, out_bins)
    n = sampling.most_samples

    def one_input(a: Array) -> Counted:
        def step(histogram: PairHistogram, x: Array, valid: Array) -> PairHistogram:
            i = jnp.where(valid, setting.in_binning.index(x[:, a]), -1)
            j = setting.out_binning.index(setting.outputs(_alone(x, a)))
            samples = jnp.sum(valid, dtype=jnp.int32)
            return histogram.update(i[:, None], j, samples=samples)

        def count(start: int | Array, stop: int | Array) -> PairHistogram:
            blocks = sampling.blocks(setting.channel, n)
            return fold_batches(setting, key, start, stop, blocks, step, none)

        histogram = count(0, n)
        size = n // max(groups, 1)
        starts = jnp.arange(groups) * size
        sums = jax.lax.map(
            lambda start: jnp.sum(estimator(count(start, start + size).counts)), starts
        )
        return Counted(
            estimator(histogram.counts)[0],
            sums,
            jnp.sum(estimator.bias(histogram.counts)),
            histogram.samples,
            jnp.max(histogram.outside) / histogram.samples,
            jnp.array(True),
        )

    each = jax.lax.map(one_input, jnp.arange(setting.channel.n_in))
    return each.collect(each.matrix)


@eqx.filter_jit
def observed_alone(
    setting: Setting, key: PRNGKeyArray, sampling: AbstractSampling
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    n = sampling.most_samples
    blocks = sampling.blocks(setting.channel, n)

    def one_input(a: Array) -> Bounds:
        def step(bounds: Bounds, x: Array, valid: Array) -> Bounds:
            return widen(setting, bounds, _alone(x, a), valid)

        return fold_batches(setting, key, 0, n, blocks, step, no_bounds(setting))

    lower, upper = jax.lax.map(one_input, jnp.arange(setting.channel.n_in))
    return jnp.min(lower), jnp.max(upper)


def _alone(x: Float[Array, "n n_in"], a: Array) -> Float[Array, "n n_in"]:
    """The samples with every input but `a` silent."""
    return jnp.where(jnp.arange(x.shape[1]) == a, x, 0)
