"""Counting whole vectors of bin numbers."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..info import JointHistogram
from ._draws import FIRST_STAGE, AbstractSampling
from ._intervention import BLOCK, Setting
from ._method import Group, VectorResult


@eqx.filter_jit
def measure_vector(
    setting: Setting, key: PRNGKeyArray, sampling: AbstractSampling, groups: tuple[Group, ...]
) -> VectorResult:
    """Vector EI of each group, from samples that are binned and packed batch by batch."""
    n = sampling.most_samples
    histograms = _joint_histograms(setting, key, n, sampling, groups)

    def found(stop: int | Array) -> Array:
        """Value, standard error and bias of each group, from the first samples."""
        kept = jnp.arange(histograms[0].inside.shape[0]) < stop
        counted = [eqx.tree_at(lambda h: h.inside, h, h.inside & kept) for h in histograms]
        return jnp.stack([jnp.stack(h.estimate()) for h in counted], axis=1)

    stop, converged = jnp.asarray(n, jnp.int32), jnp.array(True)
    if sampling.fixed_samples is None:

        def unfinished(state: tuple[Array, Array, Array]) -> Array:
            stop, _, done = state
            return ~done & (2 * stop <= n)

        def double(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            stop, before, _ = state
            now = found(2 * stop)
            return 2 * stop, now, jnp.all(jnp.abs(now[0] - before[0]) < sampling.threshold)

        first = jnp.asarray(FIRST_STAGE, jnp.int32)
        stop, result, converged = jax.lax.while_loop(
            unfinished, double, (first, found(first), jnp.array(False))
        )
    else:
        result = found(n)
    outside = jnp.max(jnp.stack([h.outside / n for h in histograms]))
    return VectorResult(result[0], stop, outside, converged, result[1], result[2])


def _joint_histograms(
    setting: Setting,
    key: PRNGKeyArray,
    n: int,
    sampling: AbstractSampling,
    groups: tuple[Group, ...],
) -> list[JointHistogram]:
    """For each group, the samples packed into rows of words."""
    in_bins, out_bins = setting.in_binning.bins, setting.out_binning.bins
    blocks = sampling.blocks(setting.channel)
    draw = sampling.draw(setting, key)

    def pack(batch: Array) -> list[JointHistogram]:
        x = draw(batch * blocks, blocks)
        valid = batch * blocks * BLOCK + jnp.arange(blocks * BLOCK) < n
        i = jnp.where(valid[:, None], setting.in_binning.index(x), -1)
        j = setting.out_binning.index(setting.outputs(x))
        samples = jnp.sum(valid, dtype=jnp.int32)
        return [
            JointHistogram.of(
                i[:, jnp.array(inputs)],
                j[:, jnp.array(outputs)],
                in_bins,
                out_bins,
                samples=samples,
            )
            for inputs, outputs in groups
        ]

    batches = sampling.map_batches(pack, -(-n // (blocks * BLOCK)), blocks)
    return [
        JointHistogram(
            h.x.reshape(-1, h.x.shape[-1]),
            h.y.reshape(-1, h.y.shape[-1]),
            h.inside.reshape(-1),
            jnp.sum(h.samples),
        )
        for h in batches
    ]
