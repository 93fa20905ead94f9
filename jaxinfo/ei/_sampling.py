"""The sampled route: draw, push through the channel, bin, count."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from .._core import is_traced, public
from ..info import AbstractEstimator, Extrapolation, NonNegative
from ._draws import AbstractSampling
from ._intervention import Bounds, Setting
from ._method import Group, PairsResult, VectorResult
from ._points import Points
from ._sampled_parts import measure_parts, observed_range
from ._sampled_sensitivity import measure_sensitivity, observed_alone
from ._sampled_vector import measure_vector

Result = TypeVar("Result", PairsResult, VectorResult)


def _as_tuple(devices: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(devices)


@public
class Sampling(AbstractSampling):
    """Measure by counting samples in hard bins.

    **Arguments:**

    - `samples`: how many to draw. `None`: as many as `threshold` asks for.
    - `threshold`: without `samples`, draw 10 000, then double until the standard error and the
        estimated bias of the sum are together below this fraction of it, or of 0.01 bits where the
        sum is smaller. The sum is over all pairs (of a tile, where they are too many for one); for
        sensitivity over the pairs of one input, each with as many samples as it needs. For vector
        EI, as in the source: until the last doubling changed the answer by less than this many bits.
    - `extrapolate`: estimate by `Extrapolation()`, as by default, from 160 000 samples where no
        number is given, instead of as many as `threshold` asks for.
    - `batch_size`: samples held in memory at once; changes memory and speed, never the answer.
    - `max_samples`: where doubling ends, with a warning.
    - `points`: `"random"`; or `"sobol"` or `"lattice"`, both scrambled by the key, for points spread
        more evenly than chance would, which lowers the noise where few inputs matter and bins are
        few. Sobol points are best in powers of two, and have at most 1111 dimensions (input
        neurons). Estimators that correct for bias assume independent samples and over-correct on
        such points: up to 8 bins use them with `PlugIn()`. The standard error is still that of
        random points, usually too large.
    - `devices`: to whom the batches are dealt, such as `jax.devices()`; by default all are drawn
        where JAX would. The counts are the same, bit by bit, however many there are.
    - `progress`: called on the host as `progress(done, total)` after each batch, in samples over
        all passes (a pass for each tile of pairs, or each input of `sensitivity`); calls may
        arrive late. Another function means another compilation.

    All are static under `jit`. **Raises:** `ValueError` for numbers that are not positive.

    Cost: $O(N n_{in} n_{out})$ for pairwise quantities. Same key, same counts, whatever the batch
    size.
    """

    samples: int | None = eqx.field(static=True, default=None)
    threshold: float = eqx.field(static=True, default=0.05)
    extrapolate: bool = eqx.field(static=True, default=False)
    batch_size: int | None = eqx.field(static=True, default=None)
    max_samples: int = eqx.field(static=True, default=1_280_000)
    points: Points = eqx.field(static=True, default="random")
    devices: tuple[Any, ...] = eqx.field(static=True, default=(), converter=_as_tuple)
    progress: Callable[[int, int], Any] | None = eqx.field(static=True, default=None)

    def parts(
        self,
        setting: Setting,
        key: PRNGKeyArray | None,
        estimator: AbstractEstimator | None,
        *,
        with_error: bool = False,
    ) -> PairsResult:
        """Every pair, and the standard error of their sum by the delta method."""
        estimator = self._estimator(estimator)
        result = measure_parts(setting.unnamed, _required(key), self, estimator, with_error)
        return self._warned(setting, result)

    def sensitivity(
        self,
        setting: Setting,
        key: PRNGKeyArray | None,
        estimator: AbstractEstimator | None,
        *,
        with_error: bool = False,
    ) -> PairsResult:
        """Every pair, from as many samples for each input."""
        estimator = self._estimator(estimator)
        result = measure_sensitivity(setting.unnamed, _required(key), self, estimator, with_error)
        return self._warned(setting, result)

    def vector(
        self, setting: Setting, key: PRNGKeyArray | None, groups: tuple[Group, ...]
    ) -> VectorResult:
        """Each group, by counting distinct vectors of bin numbers."""
        if self.extrapolate:
            raise ValueError(
                "`extrapolate` cancels a bias in 1/N, which vector EI does not have while most "
                "states are seen once; give `samples` or `threshold` instead."
            )
        return self._warned(setting, measure_vector(setting.unnamed, _required(key), self, groups))

    def noise_range(self, setting: Setting, key: PRNGKeyArray | None) -> Bounds:
        """The extremes of the samples."""
        return observed_range(setting.unnamed, _required(key), self)

    def silent_range(
        self, setting: Setting, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The extremes of the samples of all inputs."""
        return observed_alone(setting.unnamed, _required(key), self)

    def _estimator(self, estimator: AbstractEstimator | None) -> AbstractEstimator:
        if self.extrapolate and estimator is not None:
            raise ValueError(
                "`extrapolate=True` names the estimator, as the default does; got another one as "
                f"well: {estimator!r}. Leave one of the two out."
            )
        return NonNegative(Extrapolation()) if estimator is None else estimator

    def _warned(self, setting: Setting, result: Result) -> Result:
        """Say so if doubling ended at the limit before the answer had settled."""
        if not is_traced(result.converged) and not bool(result.converged):
            warnings.warn(
                f"The answer for {setting.channel.name!r} had not settled to within the threshold "
                f"{self.threshold} when the limit of {self.most_samples} samples was reached. "
                "Raise it with `method=Sampling(max_samples=...)`, or use fewer bins.",
                stacklevel=4,
            )
        return result


def _required(key: PRNGKeyArray | None) -> PRNGKeyArray:
    if key is None:
        raise ValueError("Sampling needs `key=`, such as `key=jax.random.key(0)`; got None.")
    return key
