"""EI of the parts: one input neuron and one output neuron at a time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..info import AbstractEstimator, PairHistogram
from ..network import Topology
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
    warn_unconverged,
)
from ._intervention import Bounds, Setting, fold_batches, no_bounds, widen
from ._sampling import FIRST_STAGE, Sampling

_TILE_CELLS = 2**25  # counts held at once (128 MiB), and as many again while a batch is added


def ei_parts(
    layer: Any,
    topology: Topology | None,
    *,
    key: PRNGKeyArray | None = None,
    threshold: float = 0.05,
    samples: int | None = None,
    extrapolate: bool = False,
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
    r"""$EI_{parts}$ of a layer: the sum over pairs of neurons of their mutual information, in **bits**.

    $$EI_{parts}(L_1 \to L_2) = \sum_{A \in L_1,\, B \in L_2} I(t_A; t_B) \;\big|\; do(L_1 = H^{\max})$$

    The inputs are set by intervention to independent uniform noise over `in_range`; $t_A$ and $t_B$
    are binned into `in_bins` and `out_bins` equal intervals, closed at both ends. Samples with
    $t_B$ outside `out_range` are left out of that pair's table, and warned about above 1%.

    **Arguments:**

    - `layer`: a name in the topology, a module of the model, or a `Channel` (then `topology` may be
        `None`). A convolution is measured from one receptive field to the channels at one position.
    - `topology`: from `topology_of(model, x)`.
    - `key`: a key; the same key gives the same answer, whatever `batch_size`.
    - `threshold`, `samples`, `extrapolate`, `batch_size`: see `Sampling`.
    - `in_layer`: where the channel begins; by default the same as `layer`.
    - `in_range`: `(lower, upper)`; by default that of the activation before the layer, or (-10, 10).
    - `out_range`: `(lower, upper)`; by default that of the activation; `"dynamic"`: each neuron's
        smallest to largest value over all samples.
    - `in_bins`, `out_bins`: at least 2; `out_bins="dynamic"`: as wide as the input's bins.
    - `activation`: replaces the layer's activation: a function or a name.
    - `method`: `Sampling(...)`, in place of the four arguments above.
    - `estimator`: how a table becomes an estimate; by default `PlugIn()`, whose bias of about
        `(in_bins - 1) * (out_bins - 1) / (2 N ln 2)` bits a pair is what more samples reduce.

    **Returns:** a scalar, at least 0 and at most `log2(min(in_bins, out_bins))` a pair.

    **Gradient:** none: hard bins refuse to be differentiated.

    **Raises:** `KeyError` for an unknown layer, `ValueError` for ranges, bins or numbers of samples
    that make no sense, and for a channel that gives NaN.

    **Cost:** $O(N n_{in} n_{out})$ counts, about 1 ns each on one core; memory independent of $N$.

    **Source:** Mattsson, Michaud and Hoel (2020), *Examining the causal structures of deep neural
    networks using information theory*, Entropy 22:1429.

    >>> import jax, jax.numpy as jnp, jaxinfo
    >>> wire = jaxinfo.Channel.from_weight(jnp.eye(2), in_range=(0, 1), out_range=(0, 1))
    >>> key = jax.random.key(0)
    >>> bits = ei_parts(wire, None, key=key, samples=20_000, in_bins=8, out_bins=8)
    >>> f"{bits:.2f}"  # two wires of three bits each, and two pairs that share nothing
    '6.00'
    """
    sampling = sampling_from(method, samples, batch_size, threshold, extrapolate)
    channel = channel_of(layer, topology, in_layer, activation)
    setting = noise_setting(channel, sampling, key, in_range, in_bins, out_range, out_bins)
    return jnp.sum(measured_parts(setting, key, sampling, estimator).matrix)


def ei_parts_matrix(
    layer: Any,
    topology: Topology | None,
    *,
    key: PRNGKeyArray | None = None,
    threshold: float = 0.05,
    samples: int | None = None,
    extrapolate: bool = False,
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
    r"""The mutual information of each pair of neurons, $EI(A \to B)$, in **bits**.

    $$EI(A \to B) = I(t_A; t_B) \;\big|\; do(L_1 = H^{\max})$$

    Row $A$ is an input neuron, column $B$ an output neuron, both flattened in row-major order;
    `ei_parts` is the sum, and says all about arguments, errors, gradient and cost.

    >>> import jax, jax.numpy as jnp, jaxinfo
    >>> wire = jaxinfo.Channel.from_weight(jnp.eye(2), in_range=(0, 1), out_range=(0, 1))
    >>> key = jax.random.key(0)
    >>> ei_parts_matrix(wire, None, key=key, samples=20_000, in_bins=8, out_bins=8).round(1)
    Array([[3., 0.],
           [0., 3.]], dtype=float32)
    """
    sampling = sampling_from(method, samples, batch_size, threshold, extrapolate)
    channel = channel_of(layer, topology, in_layer, activation)
    setting = noise_setting(channel, sampling, key, in_range, in_bins, out_range, out_bins)
    return measured_parts(setting, key, sampling, estimator).matrix


def noise_setting(
    channel: Any,
    sampling: Sampling,
    key: PRNGKeyArray | None,
    in_range: Range | None,
    in_bins: int,
    out_range: OutRange,
    out_bins: OutBins,
) -> Setting:
    def observed(setting: Setting) -> Bounds:
        blocks = batch_blocks(channel, sampling.batch_size)
        return _observed_range(setting, require_key(key), sampling.most_samples, blocks)

    return setting_of(channel, in_range, in_bins, out_range, out_bins, observed)


@eqx.filter_jit
def _observed_range(setting: Setting, key: PRNGKeyArray, samples: int, blocks: int) -> Bounds:
    def step(bounds: Bounds, x: Array, valid: Array) -> Bounds:
        return widen(setting, bounds, x, valid)

    return fold_batches(setting, key, 0, samples, blocks, step, no_bounds(setting))


def measured_parts(
    setting: Setting,
    key: PRNGKeyArray | None,
    sampling: Sampling,
    estimator: AbstractEstimator | None,
) -> "PartsResult":
    key = require_key(key)
    result = measure_parts(setting, key, sampling, estimator_or_default(estimator))
    warn_outside(setting.channel.name, result.outside)
    warn_unconverged(setting.channel.name, result.converged, sampling)
    return result


class PartsResult(eqx.Module):
    """What one pass over the samples says of all pairs."""

    matrix: Float[Array, "n_in n_out"]
    group_sums: Float[Array, " groups"]
    bias: Float[Array, ""]
    samples: Int[Array, ""]
    outside: Float[Array, ""]
    converged: Bool[Array, ""]


@eqx.filter_jit
def measure_parts(
    setting: Setting,
    key: PRNGKeyArray,
    sampling: Sampling,
    estimator: AbstractEstimator,
    groups: int = 0,
) -> PartsResult:
    """Estimate every pair, a tile of pairs at a time so that memory stays bounded.

    With `groups`, a fixed number of samples is also estimated group by group, for the scatter.
    """
    n_in, n_out = setting.channel.n_in, setting.channel.n_out
    cells = setting.in_binning.bins * setting.out_binning.bins
    tile_in = min(n_in, max(1, _TILE_CELLS // cells))
    tile_out = min(n_out, max(1, _TILE_CELLS // (cells * tile_in)))
    rows, columns = -(-n_in // tile_in), -(-n_out // tile_out)

    def tile(corner: Int[Array, " 2"]) -> PartsResult:
        return _measure_tile(setting, key, sampling, estimator, groups, corner, (tile_in, tile_out))

    grid = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), -1)
    tiles = jax.lax.map(tile, grid.reshape(-1, 2) * jnp.array([tile_in, tile_out]))
    matrix = tiles.matrix.reshape(rows, columns, tile_in, tile_out).transpose(0, 2, 1, 3)
    return PartsResult(
        matrix.reshape(rows * tile_in, columns * tile_out)[:n_in, :n_out],
        jnp.sum(tiles.group_sums, axis=0),
        jnp.sum(tiles.bias),
        jnp.max(tiles.samples),
        jnp.max(tiles.outside),
        jnp.all(tiles.converged),
    )


def _measure_tile(
    setting: Setting,
    key: PRNGKeyArray,
    sampling: Sampling,
    estimator: AbstractEstimator,
    groups: int,
    corner: Int[Array, " 2"],
    shape: tuple[int, int],
) -> PartsResult:
    blocks = batch_blocks(setting.channel, sampling.batch_size)

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
    return PartsResult(
        matrix,
        group_sums,
        jnp.sum(estimator.bias(histogram.counts)),
        histogram.samples,
        jnp.max(outside) / histogram.samples,
        converged,
    )


def _columns(numbers: Int[Array, "n d"], first: Int[Array, ""], size: int) -> Int[Array, "n size"]:
    """`size` columns from `first` on; what is past the last column holds no bin number."""
    padded = jnp.pad(numbers, ((0, 0), (0, -numbers.shape[1] % size)), constant_values=-1)
    return jax.lax.dynamic_slice_in_dim(padded, first, size, axis=1)


def _until_settled(
    count: Any, none: PairHistogram, estimator: AbstractEstimator, sampling: Sampling
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
