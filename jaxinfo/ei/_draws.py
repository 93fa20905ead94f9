"""How many samples to draw, how many to hold at once, and which device draws them."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._core import one_of
from ..info._influence import error_of_mean
from ..network import Channel
from ._intervention import BLOCK, Draw, Setting
from ._method import AbstractMethod, PairsResult
from ._points import POINTS, Points

FIRST_STAGE = 10_000  # samples before the first decision whether to double
EXTRAPOLATED_SAMPLES = 160_000  # where `extrapolate` is given no number
ERROR_BLOCKS = 2  # of samples, from whose influence the standard error is taken: known to 2%
_BATCH_BYTES = 32 * 2**20  # of one batch of inputs and outputs, where no batch size is given
_MIN_BATCH, _MAX_BATCH = 4 * BLOCK, 16 * BLOCK  # where a row of bin numbers stays in a CPU's cache

AXIS = "samples"  # of the mesh of devices

State = TypeVar("State")


class Turn(NamedTuple):
    """Which of several passes over the samples this one is."""

    number: int | Int[Array, ""]
    of: int


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
    devices: eqx.AbstractVar[tuple[jax.Device, ...]]
    progress: eqx.AbstractVar[Callable[[int, int], Any] | None]

    def __check_init__(self):
        one_of("points", self.points, POINTS)
        for name in ("samples", "batch_size", "max_samples", "threshold"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` must be positive; got {value}.")
        if self.samples is not None and self.samples > 2**31 - 1:
            raise ValueError(f"`samples` must fit in 31 bits, as counts do; got {self.samples}.")

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
        """The inputs of a block of samples, as a function of its number."""
        unit = POINTS[self.points](key, setting.channel.n_in)
        return lambda block: setting.inputs(unit(block))

    def blocks(self, channel: Channel, usual: int | None = None) -> int:
        """How many blocks of samples to hold at once; without `batch_size`, `usual` samples."""
        size = self.batch_size or usual
        if size is None:
            row = 4 * (channel.n_in + channel.n_out)
            size = min(max(_BATCH_BYTES // row, _MIN_BATCH), _MAX_BATCH)
        return max(1, size // BLOCK)

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
                numbers = block + jnp.arange(blocks, dtype=jnp.int32)
                x = jax.vmap(draw)(numbers).reshape(size, -1)
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
    x = jax.vmap(draw)(jnp.arange(ERROR_BLOCKS, dtype=jnp.int32))
    return x.reshape(-1, x.shape[-1])


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
