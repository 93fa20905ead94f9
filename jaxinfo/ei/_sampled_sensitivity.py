"""Counting every pair while one input moves and the others are silent."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..info import AbstractEstimator, PairHistogram
from ._draws import AbstractSampling, Counted, error_inputs
from ._intervention import Bounds, Setting, no_bounds, widen, widest
from ._method import PairsResult
from ._sampled_parts import until_settled
from ._tiles import Turn


@eqx.filter_jit
def measure_sensitivity(
    setting: Setting,
    key: PRNGKeyArray,
    sampling: AbstractSampling,
    estimator: AbstractEstimator,
    with_error: bool = False,
) -> PairsResult:
    """Estimate every pair, an input neuron at a time."""
    in_bins, out_bins = setting.in_binning.bins, setting.out_binning.bins
    none = PairHistogram.zeros(1, setting.channel.n_out, in_bins, out_bins)
    n, draw = sampling.fixed_samples, sampling.draw(setting, key)

    def one_input(a: Array) -> Counted:
        def numbers(x: Array) -> tuple[Array, Array]:
            j = setting.out_binning.index(setting.outputs(_alone(x, a)))
            return setting.in_binning.index(x[:, a])[:, None], j

        def step(histogram: PairHistogram, x: Array, valid: Array) -> PairHistogram:
            i, j = numbers(x)
            i = jnp.where(valid[:, None], i, -1)
            return histogram.update(i, j, samples=jnp.sum(valid, dtype=jnp.int32))

        def count(
            histogram: PairHistogram, start: int | Int[Array, ""], stop: int | Int[Array, ""]
        ) -> PairHistogram:
            blocks, turn = sampling.blocks(setting.channel, n), Turn(a, setting.channel.n_in)
            more = sampling.fold(draw, start, stop, blocks, step, none, turn=turn)
            return histogram.merge(more)

        def counted(histogram: PairHistogram, with_error: bool) -> Counted:
            some = numbers(error_inputs(draw)) if with_error else None
            return Counted.of(histogram, estimator, some)

        if n is None:
            return until_settled(count, counted, none, sampling)
        return counted(count(none, 0, n), with_error)

    each = jax.lax.map(one_input, jnp.arange(setting.channel.n_in))
    return each.collect(each.matrix[:, 0])


@eqx.filter_jit
def observed_alone(
    setting: Setting, key: PRNGKeyArray, sampling: AbstractSampling
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    n, draw = sampling.most_samples, sampling.draw(setting, key)
    blocks = sampling.blocks(setting.channel, n)

    def one_input(a: Array) -> Bounds:
        def step(bounds: Bounds, x: Array, valid: Array) -> Bounds:
            return widen(setting, bounds, _alone(x, a), valid)

        turn = Turn(a, setting.channel.n_in)
        return sampling.fold(
            draw, 0, n, blocks, step, no_bounds(setting), turn=turn, combine=widest
        )

    lower, upper = jax.lax.map(one_input, jnp.arange(setting.channel.n_in))
    return jnp.min(lower), jnp.max(upper)


def _alone(x: Float[Array, "n n_in"], a: Array) -> Float[Array, "n n_in"]:
    """The samples with every input but `a` silent."""
    return jnp.where(jnp.arange(x.shape[1]) == a, x, 0)
