"""Counting every pair under noise in all inputs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ..info import AbstractEstimator, PairHistogram
from ._draws import FIRST_STAGE, AbstractSampling, Counted
from ._intervention import Bounds, Setting, fold_batches, no_bounds, widen
from ._method import PairsResult

_TILE_CELLS = 2**25  # counts held at once (128 MiB), and as many again while a batch is added


@eqx.filter_jit
def measure_parts(
    setting: Setting,
    key: PRNGKeyArray,
    sampling: AbstractSampling,
    estimator: AbstractEstimator,
    groups: int = 0,
) -> PairsResult:
    """Estimate every pair, a tile of pairs at a time so that memory stays bounded.

    With `groups`, a fixed number of samples is also estimated group by group, for the scatter.
    """
    n_in, n_out = setting.channel.n_in, setting.channel.n_out
    cells = setting.in_binning.bins * setting.out_binning.bins
    tile_in = min(n_in, max(1, _TILE_CELLS // cells))
    tile_out = min(n_out, max(1, _TILE_CELLS // (cells * tile_in)))
    rows, columns = -(-n_in // tile_in), -(-n_out // tile_out)

    def tile(corner: Int[Array, " 2"]) -> Counted:
        return _measure_tile(setting, key, sampling, estimator, groups, corner, (tile_in, tile_out))

    grid = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), -1)
    tiles = jax.lax.map(tile, grid.reshape(-1, 2) * jnp.array([tile_in, tile_out]))
    matrix = tiles.matrix.reshape(rows, columns, tile_in, tile_out).transpose(0, 2, 1, 3)
    return tiles.collect(matrix.reshape(rows * tile_in, columns * tile_out)[:n_in, :n_out])


def _measure_tile(
    setting: Setting,
    key: PRNGKeyArray,
    sampling: AbstractSampling,
    estimator: AbstractEstimator,
    groups: int,
    corner: Int[Array, " 2"],
    shape: tuple[int, int],
) -> Counted:
    blocks = sampling.blocks(setting.channel)

    def count(
        histogram: PairHistogram, start: int | Int[Array, ""], stop: int | Int[Array, ""]
    ) -> PairHistogram:
        def step(histogram: PairHistogram, x: Array, valid: Array) -> PairHistogram:
            i = setting.in_binning.index(x)
            j = setting.out_binning.index(setting.outputs(x))
            i, j = (
                _columns(jnp.where(valid[:, None], numbers, -1), first, size)
                for numbers, first, size in zip((i, j), corner, shape, strict=True)
            )
            return histogram.update(i, j, samples=jnp.sum(valid, dtype=jnp.int32))

        return fold_batches(setting, key, start, stop, blocks, step, histogram)

    none = PairHistogram.zeros(*shape, setting.in_binning.bins, setting.out_binning.bins)
    n, converged, group_sums = sampling.fixed_samples, jnp.array(True), jnp.zeros(groups)
    if n is None:
        histogram, matrix, converged = _until_settled(count, none, estimator, sampling)
    elif sampling.extrapolate:
        quarter = count(none, 0, n // 4)
        half = count(quarter, n // 4, n // 2)
        histogram = count(half, n // 2, n)
        at_quarter, at_half, at_all = (estimator(h.counts) for h in (quarter, half, histogram))
        matrix = jnp.maximum((8 * at_all - 6 * at_half + at_quarter) / 3, 0)
    elif groups:
        size = n // groups

        def add_group(total: PairHistogram, g: Array) -> tuple[PairHistogram, Array]:
            stop = jnp.where(g == groups - 1, n, (g + 1) * size)
            histogram = count(none, g * size, stop)
            return total.merge(histogram), jnp.sum(estimator(histogram.counts))

        histogram, group_sums = jax.lax.scan(add_group, none, jnp.arange(groups))
        matrix = estimator(histogram.counts)
    else:
        histogram = count(none, 0, n)
        matrix = estimator(histogram.counts)
    # Rows and columns past the last neuron hold no counts, so their samples would seem outside.
    real = corner[1] + jnp.arange(shape[1]) < setting.channel.n_out
    outside = jnp.where(real, jnp.min(histogram.outside, axis=0), 0)
    return Counted(
        matrix,
        group_sums,
        jnp.where(sampling.extrapolate, 0.0, jnp.sum(estimator.bias(histogram.counts))),
        histogram.samples,
        jnp.max(outside) / histogram.samples,
        converged,
    )


def _columns(numbers: Int[Array, "n d"], first: Int[Array, ""], size: int) -> Int[Array, "n size"]:
    """`size` columns from `first` on; what is past the last column holds no bin number."""
    padded = jnp.pad(numbers, ((0, 0), (0, -numbers.shape[1] % size)), constant_values=-1)
    return jax.lax.dynamic_slice_in_dim(padded, first, size, axis=1)


def _until_settled(
    count: Any, none: PairHistogram, estimator: AbstractEstimator, sampling: AbstractSampling
) -> tuple[PairHistogram, Array, Array]:
    """Double the samples until the sum of the estimates changes by less than the threshold."""

    def settled(before: Array, now: Array) -> Array:
        # An answer near 0 is settled when it moves by a small part of a hundredth of a bit.
        return jnp.abs(now - before) <= sampling.threshold * jnp.maximum(now, 0.01)

    def unfinished(state: tuple[PairHistogram, Array, Array]) -> Array:
        histogram, _, done = state
        return ~done & (histogram.samples * 2 <= sampling.most_samples)

    def double(state: tuple[PairHistogram, Array, Array]) -> tuple[PairHistogram, Array, Array]:
        histogram, matrix, _ = state
        more = count(histogram, histogram.samples, 2 * histogram.samples)
        new = estimator(more.counts)
        return more, new, settled(jnp.sum(matrix), jnp.sum(new))

    first = count(none, 0, FIRST_STAGE)
    state = first, estimator(first.counts), jnp.array(False)
    return jax.lax.while_loop(unfinished, double, state)


@eqx.filter_jit
def observed_range(setting: Setting, key: PRNGKeyArray, sampling: AbstractSampling) -> Bounds:
    def step(bounds: Bounds, x: Array, valid: Array) -> Bounds:
        return widen(setting, bounds, x, valid)

    samples, blocks = sampling.most_samples, sampling.blocks(setting.channel)
    return fold_batches(setting, key, 0, samples, blocks, step, no_bounds(setting))
