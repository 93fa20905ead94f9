"""How many samples to draw, how many to hold at once, and which device draws them."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._core import one_of
from ..info import AbstractEstimator, PairHistogram, PlugIn
from ..info._influence import error_of_mean
from ..network import Channel
from ._intervention import BLOCK, Draw, Setting, UnitDraw
from ._method import AbstractMethod, PairsResult
from ._points import POINTS, Points
from ._tiles import Turn

FIRST_STAGE = 10_000  # samples before the first decision whether to double
EXTRAPOLATED_SAMPLES = 160_000  # where `extrapolate` is given no number
ERROR_BLOCKS = 2  # of samples, from whose influence the standard error is taken: known to 2%
_BATCH_BYTES = 32 * 2**20  # of one batch of inputs and outputs, where no batch size is given
_MIN_BATCH, _MAX_BATCH = 4 * BLOCK, 25 * BLOCK  # where a row of bin numbers stays in a CPU's cache

AXIS = "samples"  # of the mesh of devices

State = TypeVar("State")


def add_up(state: State, axis: str) -> State:
    """The state of all devices' samples, where states add up as counts do."""
    return jax.lax.psum(state, axis)


class AbstractSampling(AbstractMethod):
    """What describes a sampled route, from which its counting code reads."""

    samples: eqx.AbstractVar[int | None]
    threshold: eqx.AbstractVar[float]
    extrapolate: eqx.AbstractVar[bool]
    batch_size: eqx.AbstractVar[int | None]
    max_samples: eqx.AbstractVar[int]
    points: eqx.AbstractVar[Points]
    devices: eqx.AbstractVar[tuple[Any, ...]]
    progress: eqx.AbstractVar[Callable[[int, int], Any] | None]

    def __check_init__(self):
        one_of("points", self.points, POINTS)
        for name in ("samples", "batch_size", "max_samples", "threshold"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` must be positive; got {value}.")
        if self.samples is not None and self.samples > 2**31 - 1:
            raise ValueError(f"`samples` must fit in 31 bits, as counts do; got {self.samples}.")
        if self.max_samples > 2**30:
            raise ValueError(
                f"`max_samples` must be at most 2**30, so that twice as many can be counted; got "
                f"{self.max_samples}."
            )

    @property
    def fixed_samples(self) -> int | None:
        """The number of samples, or `None` if the answer decides it."""
        if self.samples is None and self.extrapolate:
            return EXTRAPOLATED_SAMPLES
        return self.samples

    @property
    def most_samples(self) -> int:
        """The number of samples that may be drawn."""
        return self.fixed_samples or max(self.max_samples, FIRST_STAGE)

    def draw(self, setting: Setting, key: PRNGKeyArray) -> Draw:
        """The inputs of some blocks of samples, as a function of the first one's number."""
        n_in = setting.channel.n_in
        unit = POINTS[self.points](key, n_in)
        return lambda first, blocks: setting.inputs(held(unit, first, blocks).reshape(-1, n_in))

    def blocks(self, channel: Channel, usual: int | None = None) -> int:
        """How many blocks of samples to hold at once; without `batch_size`, about `usual` samples.

        Fewer where as many batches, all of one size, then reach the last sample: blocks past it are
        drawn for nothing.
        """
        size = self.batch_size or usual
        if size is None:
            row = 4 * (channel.n_in + channel.n_out)
            size = min(max(_BATCH_BYTES // row, _MIN_BATCH), _MAX_BATCH)
        most, needed = max(1, size // BLOCK), -(-self.most_samples // BLOCK)
        batches = -(-needed // most)
        return -(-needed // batches)

    def fold(
        self,
        draw: Draw,
        start: int | Int[Array, ""],
        stop: int | Int[Array, ""],
        blocks: int,
        step: Callable[[State, Array, Array], State],
        nothing: State,
        *,
        turn: Turn,
        combine: Callable[[State, str], State] = add_up,
    ) -> State:
        """Fold `state = step(state, x, valid)` over the samples number `start` to `stop`.

        A batch `x` holds `blocks * BLOCK` rows; `valid` says which of them are among the samples.
        `nothing` is the state of no samples, from which each device starts: they take batches in
        turn, and `combine` merges what they found, along the axis of their mesh.
        """
        size, first = blocks * BLOCK, jnp.asarray(start, jnp.int32) // BLOCK

        def more(carry: tuple[Array, State]) -> Array:
            # In blocks: the number of a sample past the last one may not fit in 31 bits.
            return carry[0] <= (stop - 1) // BLOCK

        def on_device(device: int | Int[Array, ""], devices: int) -> State:
            def body(carry: tuple[Array, State]) -> tuple[Array, State]:
                block, state = carry
                x = draw(block, blocks)
                number = block * BLOCK + jnp.arange(size, dtype=jnp.int32)
                state = step(state, x, (number >= start) & (number < stop))
                self._tell(turn, jnp.minimum(block * BLOCK + size, stop))
                return block + devices * blocks, state

            begin = first + jnp.asarray(device, jnp.int32) * blocks
            return jax.lax.while_loop(more, body, (begin, nothing))[1]

        if not self.devices:
            return on_device(0, 1)

        def dealt() -> State:
            return combine(on_device(jax.lax.axis_index(AXIS), len(self.devices)), AXIS)

        return self._sharded(dealt, (), PartitionSpec())()

    def map_batches(
        self, fn: Callable[[Int[Array, ""]], State], batches: int, blocks: int
    ) -> State:
        """`fn(number)` of each batch, stacked; at least `batches` of them, dealt to the devices."""

        def told(number: Array) -> State:
            result = fn(number)
            self._tell(Turn(0, 1), jnp.minimum((number + 1) * blocks * BLOCK, self.most_samples))
            return result

        def each(numbers: Array) -> State:
            return jax.lax.map(told, numbers)

        if not self.devices:
            return each(jnp.arange(batches, dtype=jnp.int32))
        whole_rounds = -(-batches // len(self.devices)) * len(self.devices)
        dealt = PartitionSpec(AXIS)
        return self._sharded(each, dealt, dealt)(jnp.arange(whole_rounds, dtype=jnp.int32))

    def _sharded(self, fn: Callable[..., State], in_specs: Any, out_specs: Any) -> Any:
        mesh = Mesh(np.array(self.devices), (AXIS,))
        return jax.shard_map(fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)

    def _tell(self, turn: Turn, sample: Array) -> None:
        """Report how far the work is, in samples of all turns together."""
        report, most = self.progress, self.most_samples
        if report is not None:

            def tell(number: Array, sample: Array) -> None:
                report(int(number) * most + int(sample), turn.of * most)

            jax.debug.callback(tell, turn.number, sample)


class Counted(eqx.Module):
    """What one pass over the samples says of some pairs: the fields of `PairsResult`.

    In place of the standard error, it has what that is made of: the influence of a few samples on
    the sum (none where no error was asked for), and the bias of a plug-in estimate.
    """

    matrix: Float[Array, "*pairs"]
    influence: Float[Array, "*batch some"]
    plug_in_bias: Float[Array, "*batch"]
    bias: Float[Array, "*batch"]
    samples: Int[Array, "*batch"]
    outside: Float[Array, "*batch"]
    converged: Bool[Array, "*batch"]

    @classmethod
    def of(
        cls,
        histogram: PairHistogram,
        estimator: AbstractEstimator,
        error_numbers: tuple[Int[Array, "some n_in"], Int[Array, "some n_out"]] | None,
        real: Bool[Array, " n_out"] | bool = True,
    ) -> "Counted":
        """What a histogram says, with its error if the bin numbers of a few samples are given.

        `real` says which columns are output neurons: others hold no counts, and would seem outside.
        """

        def of_input(counts: Array) -> tuple[Array, Array, Array]:
            nothing = jnp.full(counts.shape[:-2], jnp.nan)
            bits, bias = (
                (estimator(counts), nothing)
                if error_numbers is None
                else estimator.with_bias(counts)
            )
            return bits, jnp.sum(bias), jnp.sum(PlugIn().bias(counts))

        # An input at a time: its tables stay in the cache, those of all inputs do not.
        matrix, bias, plug_in_bias = jax.lax.map(of_input, histogram.counts)
        outside = jnp.where(real, jnp.min(histogram.outside, axis=0), 0)
        return cls(
            matrix,
            jnp.zeros(0) if error_numbers is None else histogram.influence(*error_numbers),
            jnp.sum(plug_in_bias),
            jnp.sum(bias),
            histogram.samples,
            jnp.max(outside) / histogram.samples,
            jnp.array(True),
        )

    def collect(self, matrix: Float[Array, "n_in n_out"]) -> PairsResult:
        """The result of a batch of passes over different pairs, arranged into `matrix`.

        Passes may have settled after different numbers of samples: the error is that of the fewest.
        """
        fewest = jnp.min(self.samples)
        return PairsResult(
            matrix,
            sum_error(jnp.sum(self.influence, axis=0), jnp.sum(self.plug_in_bias), fewest),
            jnp.sum(self.bias),
            jnp.max(self.samples),
            jnp.max(self.outside),
            jnp.all(self.converged),
        )


def error_inputs(draw: Draw) -> Float[Array, "some n_in"]:
    """The first samples, from whose influence the standard error is taken."""
    return draw(jnp.asarray(0, jnp.int32), ERROR_BLOCKS)


def held(unit: UnitDraw, first: Int[Array, ""], blocks: int) -> Float[Array, "blocks numbers"]:
    """The points of `blocks` blocks, held in memory, each block flat.

    XLA fuses whatever it can, and would draw the points again for each use that is made of them. It
    fuses no branch of a condition, so here is one, which is always met. Flat, since a CPU's vector
    registers hold as many numbers of a long row as fit, but of a short one no more than it has.
    """

    def draw() -> Array:
        numbers = first + jnp.arange(blocks, dtype=jnp.int32)
        return jax.vmap(lambda number: unit(number).reshape(-1))(numbers)

    shape = jax.eval_shape(draw)
    return jax.lax.cond(first >= 0, draw, lambda: jnp.zeros(shape.shape, shape.dtype))


def sum_error(
    influence: Float[Array, " some"], plug_in_bias: Float[Array, ""], samples: Int[Array, ""]
) -> Float[Array, ""]:
    """The standard error of a sum over pairs; NaN where no influence was taken."""
    if influence.shape[0] == 0:
        return jnp.array(jnp.nan)
    # Fewer samples than were looked at: the later ones have no say.
    some = jnp.minimum(samples, influence.shape[0])
    used = jnp.arange(influence.shape[0]) < some
    variance = jnp.sum(jnp.where(used, influence**2, 0)) / some
    return error_of_mean(variance, plug_in_bias, samples)
