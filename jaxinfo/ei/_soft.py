"""The soft route: differentiable bins, for channels of any kind."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, Real

from .._core import is_traced, public
from ..info import AbstractEstimator, mutual_information
from ._draws import ERROR_BLOCKS, held
from ._intervention import BLOCK, Bounds, Setting
from ._method import AbstractMethod, Group, PairsResult, VectorResult
from ._points import random_points
from ._sampling import Sampling
from ._tiles import Tile, columns, over_tiles

_VECTOR_CELLS = 2**22  # of the joint table of a group


@public
class Soft(AbstractMethod):
    r"""Measure with soft bins: sampled, but differentiable in the channel's parameters.

    Inputs are drawn and binned as by `Sampling`; each output is shared by the bins near it, with
    the weights of `Binning.soft`, and the mutual information of the summed weights is computed as
    ever. So the gradient with respect to weights, biases, or a whole model is the true derivative
    of the value returned, by `jax.grad` or `jax.jvp`; it reaches through any channel,
    affine or not. The same key gives the same inputs, so the value is a smooth function of the
    model.

    **Arguments:**

    - `samples`: how many to draw, an even number.
    - `bandwidth`: $h$, the width of the kernel in output bins; traced, so it can be annealed.
    - `kernel`: `"linear"` or `"gaussian"`, see `Binning.soft`.

    **Error:** three parts, each of which can be made small.

    - *Softness.* The value is that of outputs blurred by the kernel before they are binned. Where
        the density of an output given its input bin is smooth, this differs from the hard value by
        $O(h^2)$; where it has a jump at an edge, as a copied input has, by $O(h \log(1/h))$.
        Blurring loses information, so the soft value is usually the lower.
    - *Histogram bias*, about $(R - 1)(C - 1)/(2 N \ln 2)$ bits a pair for hard bins, somewhat less
        for soft ones. It is cancelled to first order by the two halves of the samples,
        $2 I_N - \tfrac12 (I' + I'')$, so pairs that share nothing scatter about 0.
    - *Noise* of $O(N^{-1/2})$, whose size `measure` gives as the standard error.

    **Gradient:** finite everywhere, also for zero weights and saturated units. Its noise grows as
    the bandwidth falls, since only outputs within $h$ of an edge have a say.

    **Raises:** `ValueError` for an odd or non-positive number of samples, for a bandwidth that is
    not positive, for `estimator=` (tables
    of fractions have no counts to correct by), and for vector EI of groups with too many states.

    **Cost:** one matrix product of $N \times n_{in} K_{in}$ by $N \times n_{out} K_{out}$; value and
    gradient together take 2.3 to 3 times as long as the value. The backward pass redraws and
    recomputes each block of samples, so its memory does not grow with $N$.

    >>> import jax, jax.numpy as jnp, jaxinfo
    >>> from jaxinfo.ei import Soft, ei_parts
    >>> def bits(w):
    ...     wire = jaxinfo.Channel.from_weight(w, None, "tanh", in_range=(-1, 1))
    ...     return ei_parts(wire, None, key=jax.random.key(0), in_bins=8, out_bins=8, method=Soft())
    >>> bool(jax.grad(bits)(jnp.ones((1, 1))) > 0)  # a larger weight uses more of the output's range
    True
    """

    samples: int = eqx.field(static=True, default=10_000)
    bandwidth: Real[ArrayLike, ""] = 1.0
    kernel: Literal["linear", "gaussian"] = eqx.field(static=True, default="linear")

    def __check_init__(self):
        if self.samples < 2 or self.samples % 2:
            raise ValueError(
                f"`samples` must be even and positive, for two equal halves; got {self.samples}."
            )
        if not is_traced(self.bandwidth) and not np.asarray(self.bandwidth) > 0:
            raise ValueError(f"`bandwidth` must be positive, in output bins; got {self.bandwidth}.")

    def parts(
        self,
        setting: Setting,
        key: PRNGKeyArray | None,
        estimator: AbstractEstimator | None,
        *,
        with_error: bool = False,
    ) -> PairsResult:
        """Every pair, and the standard error of their sum by the delta method."""
        return _soft_parts(setting.unnamed, _prepared(key, estimator), self, with_error)

    def sensitivity(
        self,
        setting: Setting,
        key: PRNGKeyArray | None,
        estimator: AbstractEstimator | None,
        *,
        with_error: bool = False,
    ) -> PairsResult:
        """Every pair, from as many samples for each input."""
        return _soft_sensitivity(setting.unnamed, _prepared(key, estimator), self, with_error)

    def vector(
        self, setting: Setting, key: PRNGKeyArray | None, groups: tuple[Group, ...]
    ) -> VectorResult:
        """Each group, from the table of all its states: for small groups and few bins."""
        for inputs, outputs in groups:
            bins = setting.in_binning.bins, setting.out_binning.bins
            cells = bins[0] ** len(inputs) * bins[1] ** len(outputs)
            if cells > _VECTOR_CELLS:
                raise ValueError(
                    f"Soft vector EI needs a table of all states; {len(inputs)} inputs of "
                    f"{bins[0]} bins and {len(outputs)} outputs of {bins[1]} have {cells:.2g}, more "
                    f"than {_VECTOR_CELLS}. Use fewer bins, smaller groups, or `Sampling()`."
                )
        return _soft_vector(setting.unnamed, _prepared(key, None), self, groups)

    def noise_range(self, setting: Setting, key: PRNGKeyArray | None) -> Bounds:
        """The extremes of the samples, without a gradient."""
        return Sampling(self.samples).noise_range(_constant(setting), key)

    def silent_range(
        self, setting: Setting, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The extremes of the samples of all inputs, without a gradient."""
        return Sampling(self.samples).silent_range(_constant(setting), key)


def _prepared(key: PRNGKeyArray | None, estimator: AbstractEstimator | None) -> PRNGKeyArray:
    if key is None:
        raise ValueError("Soft bins need `key=`, such as `key=jax.random.key(0)`; got None.")
    if estimator is not None:
        raise ValueError(
            f"`Soft()` corrects its own bias and takes no estimator of counts; got {estimator!r}. "
            "Leave `estimator` out, or use `method=Sampling()`."
        )
    return key


def _constant(setting: Setting) -> Setting:
    arrays, rest = eqx.partition(setting, eqx.is_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), rest)


@eqx.filter_jit
def _soft_parts(setting: Setting, key: PRNGKeyArray, soft: Soft, with_error: bool) -> PairsResult:
    channel = setting.channel

    def of_tile(tile: Tile) -> "_Informed":
        corner, shape, turn = tile

        def block(x: Array, valid: Array) -> tuple[Array, Array]:
            i = columns(setting.in_binning.index(x), corner[0], shape[0], fill=-1)
            kept = _weights(setting, soft, x) * valid[:, None, None]
            y = columns(jnp.swapaxes(kept, 1, 2), corner[1], shape[1], fill=0)
            table = _product(i, jnp.swapaxes(y, 1, 2), setting.in_binning.bins)
            return table, jnp.sum(kept, axis=(0, 2))

        return _informed(setting, key, soft, block, turn.number, with_error)

    cells = setting.in_binning.bins * setting.out_binning.bins
    found, arrange = over_tiles(channel.n_in, channel.n_out, cells, of_tile)
    return _result(soft, arrange(found.bits), found)


@eqx.filter_jit
def _soft_sensitivity(
    setting: Setting, key: PRNGKeyArray, soft: Soft, with_error: bool
) -> PairsResult:
    def one_input(a: Array) -> "_Informed":
        def block(x: Array, valid: Array) -> tuple[Array, Array]:
            alone = jnp.where(jnp.arange(x.shape[1]) == a, x, 0)
            kept = _weights(setting, soft, alone) * valid[:, None, None]
            i = setting.in_binning.index(x[:, a])[:, None]
            return _product(i, kept, setting.in_binning.bins), jnp.sum(kept, axis=(0, 2))

        return _informed(setting, key, soft, block, a, with_error)

    found = jax.lax.map(one_input, jnp.arange(setting.channel.n_in))
    return _result(soft, found.bits[:, 0], found)


@eqx.filter_jit
def _soft_vector(
    setting: Setting, key: PRNGKeyArray, soft: Soft, groups: tuple[Group, ...]
) -> VectorResult:
    def one_group(inputs: tuple[int, ...], outputs: tuple[int, ...]) -> "_Informed":
        def block(x: Array, valid: Array) -> tuple[Array, Array]:
            kept = _weights(setting, soft, x)
            joint = valid[:, None].astype(kept.dtype)
            for b in outputs:  # a row's weight of a joint state is the product over neurons
                joint = (joint[:, :, None] * kept[:, None, b]).reshape(x.shape[0], -1)
            i = setting.in_binning.index(x)
            state = jnp.zeros(x.shape[0], jnp.int32)
            for a in inputs:
                state = state * setting.in_binning.bins + i[:, a]
            states = setting.in_binning.bins ** len(inputs)
            return _product(state[:, None], joint[:, None], states), jnp.sum(joint)

        return _informed(setting, key, soft, block, jnp.array(0), with_error=True)

    found = [one_group(*group) for group in groups]
    return VectorResult(
        jnp.stack([f.bits[0, 0] for f in found]),
        jnp.asarray(soft.samples),
        1 - jnp.min(jnp.stack([f.inside for f in found])) / soft.samples,
        jnp.array(True),
        jnp.stack([_standard_error(soft, f.influence) for f in found]),
    )


def _weights(setting: Setting, soft: Soft, x: Array) -> Float[Array, "n n_out bins"]:
    y = setting.outputs(x)
    return setting.out_binning.soft(y, bandwidth=soft.bandwidth, kernel=soft.kernel)


def _product(
    i: Int[Array, "n n_in"], y: Float[Array, "n n_out columns"], rows: int
) -> Float[Array, "n_in n_out rows columns"]:
    """The table of each pair: the sum of `y` over the samples whose input is in each row."""
    n, n_in = i.shape
    hot = jax.nn.one_hot(i, rows, dtype=y.dtype).reshape(n, -1)
    table = hot.T @ y.reshape(n, -1)
    return table.reshape(n_in, rows, y.shape[1], y.shape[2]).transpose(0, 2, 1, 3)


class _Informed(eqx.Module):
    """What the tables of some pairs say, the weight inside, and the influence of a few samples."""

    bits: Float[Array, "*pairs"]
    inside: Float[Array, "*outputs"]
    influence: Float[Array, "*batch some"]


def _informed(
    setting: Setting,
    key: PRNGKeyArray,
    soft: Soft,
    block: Callable[[Array, Array], tuple[Array, Array]],
    turn: int | Int[Array, ""],
    with_error: bool,
) -> _Informed:
    """The information of each pair from blocks of samples in two halves.

    `turn` is the number of the turn of the loop around this, not negative. `block(x, valid)` gives
    the tables and the weight inside of some samples, linear in `valid`.
    """
    unit = random_points(key, setting.channel.n_in)
    half = soft.samples // 2
    blocks = -(-half // BLOCK)

    def draw(number: Array) -> Array:
        return setting.inputs(held(unit, number, 1).reshape(BLOCK, -1))

    # Without the running total in it, what is recomputed needs nothing but the block's number.
    @jax.checkpoint
    def counted(number: Array) -> tuple[Array, Array]:
        x = jax.lax.stop_gradient(draw(number))
        return block(x, (number % blocks) * BLOCK + jnp.arange(BLOCK) < half)

    # What does not depend on the turn would be computed once for all turns, and all of it stored.
    here = jnp.minimum(turn, 0)

    def total(first: int) -> tuple[Array, Array]:
        shapes = jax.eval_shape(counted, jnp.array(0))
        zeros = jax.tree_util.tree_map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        def add(total: tuple[Array, Array], number: Array) -> tuple[tuple[Array, Array], None]:
            return jax.tree_util.tree_map(jnp.add, total, counted(number)), None

        return jax.lax.scan(add, zeros, here + first + jnp.arange(blocks))[0]

    (one, inside_one), (other, inside_other) = total(0), total(blocks)
    bits = 2 * _bits(one + other) - (_bits(one) + _bits(other)) / 2
    influence = jnp.zeros(0)
    if with_error:
        slope = jax.grad(lambda table: jnp.sum(_bits(table)))(one + other)

        def influence_of(number: Array) -> Array:
            """How much the sum over pairs would change with the weight of each sample."""
            x = draw(number)
            _, pull = jax.vjp(lambda weight: block(x, weight)[0], jnp.ones(BLOCK))
            return soft.samples * pull(slope)[0]

        influence = jax.lax.map(influence_of, here + jnp.arange(ERROR_BLOCKS)).ravel()
    return _Informed(bits, inside_one + inside_other, influence)


def _bits(table: Float[Array, "*pairs rows columns"]) -> Float[Array, "*pairs"]:
    """Mutual information, 0 for an empty table."""
    empty = jnp.sum(table, axis=(-2, -1), keepdims=True) <= 0
    return mutual_information(jnp.where(empty, 1, table))


def _standard_error(soft: Soft, influence: Float[Array, " some"]) -> Float[Array, ""]:
    """That of a sum over pairs, from the influence of some samples on it; NaN from none."""
    return jnp.std(influence) / soft.samples**0.5


def _result(soft: Soft, matrix: Array, found: _Informed) -> PairsResult:
    return PairsResult(
        matrix,
        _standard_error(soft, jnp.sum(found.influence, axis=0)),
        jnp.array(jnp.nan),  # what softness takes off is not known
        jnp.asarray(soft.samples),
        1 - jnp.min(found.inside) / soft.samples,
        jnp.array(True),
    )
