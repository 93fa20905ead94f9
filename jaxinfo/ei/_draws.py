"""How many samples to draw, and how many to hold at once."""

import equinox as eqx
import jax
import jax.numpy as jnp
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


class AbstractSampling(AbstractMethod):
    """The numbers that describe a sampled route, from which its counting code reads."""

    samples: eqx.AbstractVar[int | None]
    threshold: eqx.AbstractVar[float]
    extrapolate: eqx.AbstractVar[bool]
    batch_size: eqx.AbstractVar[int | None]
    max_samples: eqx.AbstractVar[int]
    points: eqx.AbstractVar[Points]

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
