"""Counting every pair under noise in all inputs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ..info import AbstractEstimator, PairHistogram
from ._draws import FIRST_STAGE, AbstractSampling, Counted, error_inputs, sum_error
from ._intervention import Bounds, Setting, no_bounds, widen, widest
from ._method import PairsResult
from ._tiles import Tile, Turn, columns, over_tiles


@eqx.filter_jit
def measure_parts(
    setting: Setting,
    key: PRNGKeyArray,
    sampling: AbstractSampling,
    estimator: AbstractEstimator,
    with_error: bool = False,
) -> PairsResult:
    """Estimate every pair, a tile of pairs at a time so that memory stays bounded."""
    channel = setting.channel
    cells = setting.in_binning.bins * setting.out_binning.bins

    def of_tile(tile: Tile) -> Counted:
        return _measure_tile(setting, key, sampling, estimator, with_error, tile)

    tiles, arrange = over_tiles(channel.n_in, channel.n_out, cells, of_tile)
    return tiles.collect(arrange(tiles.matrix))


def _measure_tile(
    setting: Setting,
    key: PRNGKeyArray,
    sampling: AbstractSampling,
    estimator: AbstractEstimator,
    with_error: bool,
    tile: Tile,
) -> Counted:
    corner, shape, turn = tile
    blocks, draw = sampling.blocks(setting.channel), sampling.draw(setting, key)
    none = PairHistogram.zeros(*shape, setting.in_binning.bins, setting.out_binning.bins)

    def numbers(x: Array) -> tuple[Array, Array]:
        """The bin numbers of this tile's neurons."""
        i, j = setting.in_binning.index(x), setting.out_binning.index(setting.outputs(x))
        return (
            columns(i, corner[0], shape[0], fill=-1),
            columns(j, corner[1], shape[1], fill=-1),
        )

    def count(
        histogram: PairHistogram, start: int | Int[Array, ""], stop: int | Int[Array, ""]
    ) -> PairHistogram:
        def step(histogram: PairHistogram, x: Array, valid: Array) -> PairHistogram:
            i, j = (jnp.where(valid[:, None], side, -1) for side in numbers(x))
            return histogram.update(i, j, samples=jnp.sum(valid, dtype=jnp.int32))

        return histogram.merge(sampling.fold(draw, start, stop, blocks, step, none, turn=turn))

    def counted(histogram: PairHistogram, with_error: bool) -> Counted:
        some = numbers(error_inputs(draw)) if with_error else None
        real = corner[1] + jnp.arange(shape[1]) < setting.channel.n_out
        return Counted.of(histogram, estimator, some, real)

    n = sampling.fixed_samples
    if n is not None:
        return counted(count(none, 0, n), with_error)
    return until_settled(count, counted, none, sampling)


def until_settled(
    count: Any, counted: Any, none: PairHistogram, sampling: AbstractSampling
) -> Counted:
    """Double the samples until error and bias of the sum are a small part of it."""

    def settled(found: Counted) -> Array:
        error = sum_error(found.influence, found.plug_in_bias, found.samples)
        # An answer near 0 is settled when its error is a small part of a hundredth of a bit.
        size = jnp.maximum(jnp.sum(found.matrix), 0.01)
        return error + jnp.abs(found.bias) <= sampling.threshold * size

    def next_stop(histogram: PairHistogram) -> Array:
        return jnp.maximum(2 * histogram.samples, FIRST_STAGE)

    def unfinished(state: tuple[PairHistogram, Counted]) -> Array:
        histogram, found = state
        return ~found.converged & (next_stop(histogram) <= sampling.most_samples)

    def stage(state: tuple[PairHistogram, Counted]) -> tuple[PairHistogram, Counted]:
        histogram = count(state[0], state[0].samples, next_stop(state[0]))
        found = counted(histogram, with_error=True)
        return histogram, eqx.tree_at(lambda f: f.converged, found, settled(found))

    # The loop starts from nothing, so that a stage is compiled once.
    shapes = jax.eval_shape(lambda: counted(none, with_error=True))
    nothing = jax.tree_util.tree_map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.while_loop(unfinished, stage, (none, nothing))[1]


@eqx.filter_jit
def observed_range(setting: Setting, key: PRNGKeyArray, sampling: AbstractSampling) -> Bounds:
    def step(bounds: Bounds, x: Array, valid: Array) -> Bounds:
        return widen(setting, bounds, x, valid)

    samples, blocks = sampling.most_samples, sampling.blocks(setting.channel)
    draw = sampling.draw(setting, key)
    return sampling.fold(
        draw, 0, samples, blocks, step, no_bounds(setting), turn=Turn(0, 1), combine=widest
    )
