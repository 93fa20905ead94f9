"""EI of the parts: one input neuron and one output neuron at a time."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._core import public
from ..info import AbstractEstimator
from ..network import Channel, Topology
from ._arguments import (
    ActivationLike,
    OutBins,
    OutOfRange,
    OutRange,
    Range,
    channel_of,
    method_from,
    setting_of,
    warn_outside,
)
from ._intervention import Bounds, Setting
from ._method import AbstractMethod


@public
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
    out_of_range: OutOfRange = "drop",
    activation: ActivationLike = None,
    method: AbstractMethod | None = None,
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
    - `out_of_range`: `"drop"`, or `"clip"` to put what is outside into the bin at that end.
    - `activation`: replaces the layer's activation: a function or a name.
    - `method`: `Sampling(...)`, in place of the four arguments above.
    - `estimator`: how a table becomes an estimate; by default `NonNegative(Extrapolation())`, of
        which the mean error over many layers was least. `PlugIn()` is the plain histogram value, too
        large by about `(in_bins - 1) * (out_bins - 1) / (2 N ln 2)` bits a pair. For the sum over
        very many weak pairs take `Extrapolation()`: its scatter about 0 cancels.

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
    method = method_from(method, samples, batch_size, threshold, extrapolate)
    channel = channel_of(layer, topology, in_layer, activation)
    setting = noise_setting(
        channel, method, key, in_range, in_bins, out_range, out_bins, out_of_range
    )
    return total(measured_parts(setting, key, method, estimator))


@public
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
    out_of_range: OutOfRange = "drop",
    activation: ActivationLike = None,
    method: AbstractMethod | None = None,
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
    method = method_from(method, samples, batch_size, threshold, extrapolate)
    channel = channel_of(layer, topology, in_layer, activation)
    setting = noise_setting(
        channel, method, key, in_range, in_bins, out_range, out_bins, out_of_range
    )
    return measured_parts(setting, key, method, estimator)


def noise_setting(
    channel: Channel,
    method: AbstractMethod,
    key: PRNGKeyArray | None,
    in_range: Range | None,
    in_bins: int,
    out_range: OutRange,
    out_bins: OutBins,
    out_of_range: OutOfRange,
) -> Setting:
    """The setting of the documented arguments, with all inputs uniform at once."""

    def observed(setting: Setting) -> Bounds:
        return method.noise_range(setting, key)

    return setting_of(channel, in_range, in_bins, out_range, out_bins, out_of_range, observed)


def measured_parts(
    setting: Setting,
    key: PRNGKeyArray | None,
    method: AbstractMethod,
    estimator: AbstractEstimator | None,
) -> Float[Array, "n_in n_out"]:
    """The matrix of the pairs, with a warning about what fell outside."""
    result = method.parts(setting, key, estimator)
    warn_outside(setting.channel.name, result.outside)
    return result.matrix


def total(matrix: Float[Array, "n_in n_out"]) -> Float[Array, ""]:
    """The sum over pairs, at least 0 as the truth is: estimates of nothing scatter about 0."""
    return jnp.maximum(jnp.sum(matrix), 0)
