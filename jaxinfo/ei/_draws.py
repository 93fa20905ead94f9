"""How many samples to draw, and how many to hold at once."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..network import Channel
from ._intervention import BLOCK
from ._method import AbstractMethod, PairsResult

FIRST_STAGE = 10_000  # samples before the first decision whether to double
EXTRAPOLATED_SAMPLES = 160_000  # where `extrapolate` is given no number
_BATCH_BYTES = 32 * 2**20  # of one batch of inputs and outputs, where no batch size is given
_MIN_BATCH, _MAX_BATCH = 4 * BLOCK, 16 * BLOCK  # where a row of bin numbers stays in a CPU's cache


class AbstractSampling(AbstractMethod):
    """The numbers that describe a sampled route, from which its counting code reads."""

    samples: eqx.AbstractVar[int | None]
    threshold: eqx.AbstractVar[float]
    extrapolate: eqx.AbstractVar[bool]
    batch_size: eqx.AbstractVar[int | None]
    max_samples: eqx.AbstractVar[int]

    def __check_init__(self):
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

    def blocks(self, channel: Channel, usual: int | None = None) -> int:
        """How many blocks of samples to hold at once; without `batch_size`, `usual` samples."""
        size = self.batch_size or usual
        if size is None:
            row = 4 * (channel.n_in + channel.n_out)
            size = min(max(_BATCH_BYTES // row, _MIN_BATCH), _MAX_BATCH)
        return max(1, size // BLOCK)


class Counted(eqx.Module):
    """What one pass over the samples says of some pairs: the fields of `PairsResult`.

    In place of the standard error, it has the sum of the estimates from each group of the samples.
    """

    matrix: Float[Array, "*pairs"]
    group_sums: Float[Array, "*batch groups"]
    bias: Float[Array, "*batch"]
    samples: Int[Array, "*batch"]
    outside: Float[Array, "*batch"]
    converged: Bool[Array, "*batch"]

    def collect(self, matrix: Float[Array, "n_in n_out"]) -> PairsResult:
        """The result of a batch of passes over different pairs, arranged into `matrix`."""
        group_sums = jnp.sum(self.group_sums, axis=0)
        n = group_sums.shape[0]
        return PairsResult(
            matrix,
            # That of the mean of equal groups.
            jnp.std(group_sums, ddof=1) / n**0.5 if n > 1 else jnp.array(jnp.nan),
            jnp.sum(self.bias),
            jnp.max(self.samples),
            jnp.max(self.outside),
            jnp.all(self.converged),
        )
