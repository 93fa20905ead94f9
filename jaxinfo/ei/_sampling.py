"""The sampled route: draw, push through the channel, bin, count."""

import equinox as eqx

FIRST_STAGE = 10_000  # samples before the first decision whether to double
EXTRAPOLATED_SAMPLES = 160_000  # where `extrapolate` is given no number


class Sampling(eqx.Module):
    """Measure by counting samples in hard bins.

    **Arguments:**

    - `samples`: how many to draw. `None`: as many as `threshold` asks for.
    - `threshold`: without `samples`, draw 10 000, then double until the last doubling changed the
        answer by less than this fraction of it (for vector EI: by less than this many bits).
    - `extrapolate`: combine the answers at $N/4$, $N/2$ and $N$ samples into
        $(8 I_N - 6 I_{N/2} + I_{N/4}) / 3$, which cancels the bias in $1/N$ and $1/N^2$; without
        `samples`, $N$ is 160 000.
    - `batch_size`: samples held in memory at once; changes memory and speed, never the answer.
    - `max_samples`: where doubling ends, with a warning.

    All are static under `jit`. **Raises:** `ValueError` for numbers that are not positive.

    Cost: $O(N n_{in} n_{out})$ for pairwise quantities. Same key, same counts, whatever the batch
    size.
    """

    samples: int | None = eqx.field(static=True, default=None)
    threshold: float = eqx.field(static=True, default=0.05)
    extrapolate: bool = eqx.field(static=True, default=False)
    batch_size: int | None = eqx.field(static=True, default=None)
    max_samples: int = eqx.field(static=True, default=1_280_000)

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
