"""Exact joint tables of an output neuron with each of its inputs, streamed."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..activations import Activation
from ..info import Binning
from ..info._entropy import shared_bits
from ._intervention import Setting
from ._inverse import activation_of, branches
from ._uniform_sum import (
    Boxes,
    Sum,
    all_comparable,
    choose_boxes,
    envelope,
    no_boxes,
    precision,
    sum_of,
)
from ._waves import all_but_one, sincs

_CHUNK = 2**21  # numbers in the largest array of one step

Result = TypeVar("Result")


class Column(eqx.Module):
    """What the tables of one output neuron depend on."""

    weight: Float[Array, "*outputs n_in"]
    bias: Float[Array, "*outputs"]
    edges: Float[Array, "*outputs branches edges"]  # of the output bins, before the activation
    signs: Float[Array, " branches"]  # 1 where the activation rises, -1 where it falls
    inputs: Binning

    @property
    def bins(self) -> int:
        """Number of bins of each input."""
        return self.inputs.bins

    @property
    def half(self) -> Float[Array, " n_in"]:
        """Half the width that each input spans before the activation, with its sign."""
        return self.weight * (self.inputs.upper - self.inputs.lower) / 2

    @property
    def centre(self) -> Float[Array, ""]:
        """The middle of what all inputs together span."""
        return self.bias + jnp.sum(self.weight * self.middle)

    @property
    def middle(self) -> Float[Array, "*#n_in"]:
        """The middle of each input's range."""
        return (self.inputs.upper + self.inputs.lower) / 2

    @property
    def middles(self) -> Float[Array, " in_bins"]:
        """The centre of each input bin, in units of half the input range."""
        return (2 * jnp.arange(self.bins, dtype=self.weight.dtype) + 1) / self.bins - 1

    def cells(self, distribution: Float[Array, "*batch all_edges"]) -> Float[Array, "*batch bins"]:
        """Probabilities of the output bins from the distribution at the edges of all branches."""
        parts = distribution.reshape(*distribution.shape[:-1], *self.edges.shape)
        total = jnp.sum(self.signs[:, None] * jnp.diff(parts, axis=-1), axis=-2)
        return jnp.maximum(total, 0)


def over_columns(setting: Setting, fn: Callable[[Column], Result]) -> Result:
    """`fn` of the column of each output neuron, one after the other.

    Compiled for shapes alone: layers that differ in activation, ranges or names share the code.
    """
    columns = columns_of(setting)
    return _mapped(fn, columns)


def columns_of(setting: Setting) -> Column:
    """The columns of all output neurons, along a first axis."""
    channel, inputs = setting.channel, setting.in_binning
    dtype = inputs.lower.dtype
    weight, bias = channel.weight.astype(dtype), channel.bias.astype(dtype)
    activation = activation_of(channel, inputs)
    edges, signs = _edges(activation, setting.out_binning, channel.n_out)
    return Column(weight.T, bias, edges, signs, inputs)


@eqx.filter_jit
def _edges(
    activation: Activation, outputs: Binning, n_out: int
) -> tuple[Float[Array, "n_out branches edges"], Float[Array, " branches"]]:
    signs, edges = branches(activation, outputs)
    edges = jnp.moveaxis(edges, 0, -2)
    return jnp.broadcast_to(edges, (n_out, *edges.shape[-2:])), signs


@eqx.filter_jit
def _mapped(fn: Callable[[Column], Result], columns: Column) -> Result:
    def column(row: tuple[Array, Array, Array]) -> Result:
        return fn(Column(*row, columns.signs, columns.inputs))

    # What is computed again in the backward pass need not be kept.
    return jax.lax.map(jax.checkpoint(column), (columns.weight, columns.bias, columns.edges))


class Pairs(eqx.Module):
    """What the tables of some pairs say: bits, the mass inside, a bound on the numerical error."""

    bits: Float[Array, "*pairs"]
    inside: Float[Array, "*pairs"]
    error: Float[Array, "*pairs"]


def noise_pairs(column: Column) -> Pairs:
    """All inputs uniform: one table for each input neuron of the column."""
    size = precision(column.half.dtype)
    if column.half.shape[0] <= size.boxes + 2:
        return _with_boxes(column)
    comparable = all_comparable(column.half, size)
    # What is computed again in the backward pass need not be handed from branch to branch.
    ways = map(jax.checkpoint, (_without_boxes, _with_boxes))
    return jax.lax.cond(comparable, *ways, column)


def silent_pairs(column: Column) -> Pairs:
    """One input uniform at a time: one table for each input neuron of the column."""

    def pair(weight: Array, half: Array) -> Pairs:
        table = column.cells(_lone(column, column.bias, weight))
        return _read(column, table, half, _rounding(column, half, jnp.zeros_like(half)))

    return _over_inputs(column, pair, column.weight, column.half, terms=1)


def output_distribution(column: Column) -> Float[Array, " bins"]:
    """Probabilities of the output bins, all inputs uniform; they sum to the mass inside."""
    total, _ = sum_of(column.half, precision(column.half.dtype))
    zero = jnp.zeros(1, column.half.dtype)
    return column.cells(_distribution(column, total, zero))[0]


def group_table(
    column: Column, known: Int[Array | np.ndarray, " inputs"]
) -> Float[Array, "rows bins"]:
    """P(output bin | the bins of some inputs): a row for each combination of these bins."""
    v = column.half
    shifts = jnp.zeros(1, v.dtype)
    for a in known:
        shifts = (shifts[:, None] + v[a] * column.middles).ravel()
    rest = v.at[known].divide(column.bins)
    total, _ = sum_of(rest, precision(v.dtype))

    def row(shift: Array) -> Array:
        return _distribution(column, total, shift[None])[0]

    rows = jax.lax.map(row, shifts, batch_size=min(2**12, shifts.shape[0]))
    if len(known) <= 1:
        # Edge on edge, where nothing else moves, only the overlap of intervals is exact.
        weight = column.weight[known[0]] if len(known) else jnp.zeros((), v.dtype)
        lone = _lone(column, column.bias, weight)[: rows.shape[0]]
        rows = jnp.where(jnp.all(v.at[known].set(0) == 0), lone, rows)
    return column.cells(rows)


def _without_boxes(column: Column) -> Pairs:
    """The column where no input dominates: one period, one series, no boxes."""
    size = precision(column.half.dtype)
    # With one set of frequencies, one matrix product serves all inputs.
    total, truncation = _bulk(column, no_boxes(column.half, size), size.many)
    return _pairs(column, total, truncation)


def _with_boxes(column: Column) -> Pairs:
    """The column where some inputs dominate: their own pairs have a period of their own."""
    v, size = column.half, precision(column.half.dtype)
    n, few = v.shape[0], min(v.shape[0], size.boxes + 1)
    _, top = jax.lax.top_k(jax.lax.stop_gradient(jnp.abs(v)), few)
    own = jax.vmap(lambda a: sum_of(v.at[a].set(v[a] / column.bins), size))(top)
    if few == n:
        return _pairs(column, *jax.tree.map(lambda x: jnp.zeros_like(x).at[top].set(x), own))
    others = _bulk(column, choose_boxes(v, size), size.few)
    rows = jax.tree.map(
        lambda x, y: jnp.broadcast_to(x, (n, *y.shape[1:])).at[top].set(y), others, own
    )
    return _pairs(column, *rows)


def _bulk(column: Column, boxes: Boxes, terms: int) -> tuple[Sum, Float[Array, " n_in"]]:
    """For each input that is not among the boxes, the sum with the period of the whole column.

    Only what differs between inputs has an axis of inputs.
    """
    v, period = column.half, boxes.period
    narrow = v.at[boxes.order].set(jnp.where(boxes.used, 0, v[boxes.order])) / period
    own = v / column.bins / period
    phi = all_but_one(sincs(narrow, terms)) * sincs(own, terms)
    variance = (jnp.sum(narrow**2) - narrow**2 + own**2) / 3
    fourth = 3 * variance**2 - 2 / 15 * (jnp.sum(narrow**4) - narrow**4 + own**4)
    total = Sum(boxes.widths / period, boxes.used, phi, period, variance, fourth)
    falls, own_falls = envelope(narrow, terms), envelope(own, terms)
    decay = all_but_one(falls) * own_falls
    power = jnp.sum(falls < 1) - (falls < 1) + (own_falls < 1)
    return total, total.truncation(decay, power)


def _pairs(column: Column, total: Sum, truncation: Float[Array, " n_in"]) -> Pairs:
    """The pair of each input, from the sum that is left when the bin of that input is known."""
    widths = jnp.abs(column.half)
    moving = jnp.sum(widths > 0)
    values, _ = jax.lax.top_k(jax.lax.stop_gradient(widths), min(2, widths.shape[0]))
    leaves, structure = jax.tree.flatten(total)
    own = [x.ndim > n for x, n in zip(leaves, (1, 1, 1, 0, 0, 0), strict=True)]
    rows, shared = eqx.partition(total, jax.tree.unflatten(structure, own))

    def pair(row: Sum, truncation: Array, weight: Array, half: Array) -> Pairs:
        found = _distribution(column, eqx.combine(row, shared), half * column.middles)
        if total.period.ndim > 0:
            # Where the others have no weight this adds 0, and the gradient of their mean.
            others = column.centre - weight * column.middle
            start = column.bias + others - jax.lax.stop_gradient(others)
            alone = moving == (half != 0)
            found = jnp.where(alone, _lone(column, start, weight), found)
        # The widest of what is left: the sum has no higher density than it.
        size = jnp.abs(half)
        left = jnp.where(size < values[0], values[0], values[-1] if len(values) > 1 else 0)
        error = truncation + _rounding(column, half, left)
        return _read(column, column.cells(found), half, error)

    return _over_inputs(
        column, pair, rows, truncation, column.weight, column.half, terms=2 * total.phi.shape[-1]
    )


def _over_inputs(column: Column, pair: Callable[..., Pairs], *rows: Any, terms: int) -> Pairs:
    """`vmap` in blocks of inputs of which the arrays fit into a cache."""
    n = column.half.shape[0]
    corners = 2 ** precision(column.half.dtype).boxes
    edges = column.edges.size
    block = max(1, _CHUNK // (column.bins * (terms + corners * edges)))
    if n == 1:
        return jax.vmap(pair)(*rows)
    # At least two blocks: XLA fuses what makes the rows into all that reads them, but for a loop's.
    block = -(-n // max(2, -(-n // block)))
    return jax.lax.map(lambda row: jax.checkpoint(pair)(*row), rows, batch_size=block)


def _lone(
    column: Column, start: Float[Array, ""], weight: Float[Array, ""]
) -> Float[Array, "in_bins edges"]:
    """The distribution less 1/2 where one input moves: exact, also where edges meet edges."""
    ends = start + weight * column.inputs.edges
    lower, upper = jnp.minimum(ends[1:], ends[:-1]), jnp.maximum(ends[1:], ends[:-1])
    width = (upper - lower)[:, None]
    # Infinity is taken out before any arithmetic, or gradients would turn NaN.
    edges = column.edges.ravel()
    finite = jnp.isfinite(edges)
    near = jnp.where(finite, edges, 0)
    step = jnp.where(width > 0, _share(near - lower[:, None], width), near > lower[:, None])
    return jnp.where(finite, step - 0.5, jnp.sign(edges) / 2)


@jax.custom_jvp
def _share(
    length: Float[Array, "in_bins edges"], width: Float[Array, "in_bins 1"]
) -> Float[Array, "in_bins edges"]:
    """`length / width` between 0 and 1, with a derivative that never squares a tiny width."""
    return jnp.clip(length / jnp.where(width > 0, width, 1), 0, 1)


@_share.defjvp
def _(primals, tangents):
    (length, width), (longer, wider) = primals, tangents
    share = _share(length, width)
    moves = (share > 0) & (share < 1) & (width > 1e6 * jnp.finfo(width.dtype).tiny)
    slope = jnp.where(moves, 1 / jnp.where(moves, width, 1), 0)
    return share, slope * longer - share * slope * wider


def _distribution(
    column: Column, total: Sum, shifts: Float[Array, " shifts"]
) -> Float[Array, "shifts edges"]:
    """The distribution at the edges of all branches, less a number for each shift."""
    # Edges beyond what can be reached, infinite ones too, are as good as the end of it.
    reach = 2 * jnp.sum(jnp.abs(column.half))
    low, high = (jax.lax.stop_gradient(column.centre + x) for x in (-reach, reach))
    edges = column.edges.ravel()
    edges = jnp.where(edges < low, low, jnp.where(edges > high, high, edges))
    # Cells narrow beside the sum keep their digits if the place they start from is among them.
    anchor = jax.lax.stop_gradient(jnp.min(edges) / 2 + jnp.max(edges) / 2)
    return total.distribution(edges - anchor, anchor - column.centre, shifts)


def _rounding(column: Column, half: Float[Array, ""], widest: Float[Array, ""]) -> Array:
    """A bound on what rounding of the edges adds to the distribution, whose slope is bounded."""
    edges = column.edges.ravel()
    largest = jnp.max(jnp.where(jnp.isfinite(edges), jnp.abs(edges), 0))
    place = jnp.abs(column.centre) + jnp.abs(half) + largest
    steepest = 2 * jnp.maximum(widest, jnp.abs(half) / column.bins)
    eps = jnp.finfo(half.dtype).eps
    slope = jnp.where(steepest > 0, place / jnp.where(steepest > 0, steepest, 1), 0)
    return eps * jnp.minimum(8 + slope, 1 / eps)


def _read(column: Column, table: Array, half: Array, off: Array) -> Pairs:
    """The mutual information of a pair, given what fell inside."""
    rows, marginal = jnp.sum(table, axis=-1), jnp.mean(table, axis=0)
    inside = jnp.mean(rows)
    # What is left where nothing is inside is rounding, and says nothing.
    empty = inside < 64 * jnp.finfo(table.dtype).eps
    table = jnp.where(empty, 1, table)
    # An input without weight tells nothing; rounding would say otherwise.
    bits = jnp.where(half == 0, 0, information(table))
    # Each cell is off by at most twice the error of the distribution.
    fixed, off, mass = jax.lax.stop_gradient((table, 2 * off, jnp.where(empty, 1, inside)))
    expected = jnp.maximum(rows[:, None] * marginal, off * mass) / mass
    slope = jnp.abs(jnp.log2(jnp.maximum(fixed, off) / expected))
    curve = jnp.minimum(off / jnp.maximum(fixed, off), 1) / math.log(2)
    error = off * (jnp.mean(jnp.sum(slope + curve, axis=-1)) + 2 * bits) / mass
    most = math.log2(min(table.shape))
    # Rounding of the logarithms is there even where every cell is right.
    error = jnp.minimum(jax.lax.stop_gradient(error) + 8 * jnp.finfo(table.dtype).eps, most)
    return Pairs(bits, inside, jnp.where(empty | (half == 0), 0, error))


@jax.custom_jvp
def information(table: Float[Array, "rows columns"]) -> Float[Array, ""]:
    """The mutual information of a table, of which the derivative remembers one array."""
    return shared_bits(table / jnp.sum(table))


@information.defjvp
def _(primals, tangents):
    """One array to remember: $\\partial I / \\partial p = \\log_2 (p / r q) - I$ for $p$ of sum 1."""
    (table,), (moved,) = primals, tangents
    bits, total = information(table), jnp.sum(table)
    ratio = table * total / (jnp.sum(table, axis=1, keepdims=True) * jnp.sum(table, axis=0))
    slope = jnp.log2(jnp.where(table > 0, ratio, 1)) - bits
    return bits, jnp.sum(slope * moved) / total
