"""Exact joint tables of an output neuron with each of its inputs, streamed."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..activations import as_activation
from ..info import Binning, mutual_information
from ._intervention import Setting
from ._inverse import branches
from ._uniform_sum import (
    Boxes,
    Sum,
    all_but_one,
    all_comparable,
    choose_boxes,
    frequencies,
    no_boxes,
    precision,
    sinc,
)

_CHUNK = 2**21  # numbers in the largest array of one step
_KEEP = 2**26  # numbers that the backward pass may keep instead of computing them again

Result = TypeVar("Result")


class Column(eqx.Module):
    """What the tables of one output neuron depend on."""

    weight: Float[Array, " n_in"]
    bias: Float[Array, ""]
    edges: tuple[Float[Array, " edges"], ...]  # of the output bins, before the activation
    signs: tuple[int, ...] = eqx.field(static=True)
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
        parts = jnp.split(distribution, len(self.edges), axis=-1)
        total = sum(s * jnp.diff(part, axis=-1) for s, part in zip(self.signs, parts, strict=True))
        return jnp.maximum(total, 0)


def over_columns(setting: Setting, fn: Callable[[Column], Result]) -> Result:
    """`fn` of the column of each output neuron, one after the other."""
    channel, inputs = setting.channel, setting.in_binning
    dtype = inputs.lower.dtype
    weight, bias = channel.weight.astype(dtype), channel.bias.astype(dtype)
    found = branches(as_activation(channel.activation), setting.out_binning)
    edges = tuple(jnp.broadcast_to(x, (channel.n_out, x.shape[-1])) for _, x in found)
    signs = tuple(sign for sign, _ in found)

    def column(row: tuple[Array, Array, tuple[Array, ...]]) -> Result:
        return fn(Column(*row, signs, inputs))

    largest = weight.size * max(inputs.bins * edges[0].shape[-1], 128)
    # What is computed again in the backward pass need not be kept.
    column = jax.checkpoint(column) if largest > _KEEP else column
    return jax.lax.map(column, (weight.T, bias, edges))


class Pairs(eqx.Module):
    """What the tables of some pairs say: bits, the mass inside, a bound on the numerical error."""

    bits: Float[Array, "*pairs"]
    inside: Float[Array, "*pairs"]
    error: Float[Array, "*pairs"]


def noise_pairs(column: Column) -> Pairs:
    """All inputs uniform: one table for each input neuron of the column."""
    size = precision(column.half.dtype)
    comparable = all_comparable(column.half, size)
    if column.half.shape[0] <= size.boxes + 2:
        return _with_boxes(column)
    return jax.lax.cond(comparable, _without_boxes, _with_boxes, column)


def silent_pairs(column: Column) -> Pairs:
    """One input uniform at a time: one table for each input neuron of the column."""

    exact = jnp.zeros((), column.weight.dtype)

    def pair(weight: Array, edges: Array) -> Pairs:
        return _read(column, _lone(column, column.bias, weight, edges), weight, exact)

    return _over_inputs(column, pair, column.weight, _in_edges(column), terms=1)


def output_distribution(column: Column) -> Float[Array, " bins"]:
    """Probabilities of the output bins, all inputs uniform; they sum to the mass inside."""
    total = _sum_of(column.half)
    zero = jnp.zeros(1, column.half.dtype)
    return column.cells(_distribution(column, total, zero))[0]


def _without_boxes(column: Column) -> Pairs:
    """The column where no input dominates: one period, one series, no boxes."""
    size = precision(column.weight.dtype)
    return _bulk(column, no_boxes(column.half, size), size.many)


def _with_boxes(column: Column) -> Pairs:
    """The column where some inputs dominate: these have a period and boxes of their own."""
    v, size = column.half, precision(column.half.dtype)
    few = min(v.shape[0], size.boxes + 1)
    _, top = jax.lax.top_k(jax.lax.stop_gradient(jnp.abs(v)), few)

    def pair(a: Array) -> Pairs:
        others = v.at[a].set(0)
        total = _sum_of(jnp.append(others, v[a] / column.bins))
        alone = jnp.all(others == 0)
        # Where the others have no weight this adds 0, and the gradient of their mean.
        start = column.bias + jnp.sum((column.weight * column.middle).at[a].set(0))
        lone = _lone(column, start, column.weight[a], _in_edges(column)[a])
        spread = _distribution(column, total, v[a] * column.middles)
        return _read(column, jnp.where(alone, lone, spread), v[a], total.truncation(others))

    found = jax.lax.map(pair, top)
    if few == v.shape[0]:
        return jax.tree.map(lambda x: jnp.zeros_like(x).at[top].set(x), found)
    rest = _bulk(column, choose_boxes(v, size), size.few)
    return jax.tree.map(lambda x, y: x.at[top].set(y), rest, found)


def _bulk(column: Column, boxes: Boxes, terms: int) -> Pairs:
    """Every input that is not itself among the widest, with the period of the whole column."""
    v = column.half
    narrow = v.at[boxes.order].set(jnp.where(boxes.used, 0, v[boxes.order]))
    t = frequencies(boxes.period, terms)
    leave_one_out = all_but_one(sinc(narrow[:, None] * t))
    squares, fourths = jnp.sum(narrow**2), jnp.sum(narrow**4)

    def pair(half: Array, within: Array, phi: Array) -> Pairs:
        own = half / column.bins
        variance = (squares - within**2 + own**2) / 3
        kurtosis = -2 / 15 * (fourths - within**4 + own**4)
        total = Sum(
            boxes.widths,
            boxes.used,
            t,
            phi * sinc(own * t),
            boxes.period,
            variance,
            3 * variance**2 + kurtosis,
        )
        table = _distribution(column, total, half * column.middles)
        return _read(column, table, half, truncation)

    example = Sum(boxes.widths, boxes.used, t, t, boxes.period, squares, fourths)
    truncation = example.truncation(narrow)
    return _over_inputs(column, pair, v, narrow, leave_one_out, terms=2 * terms)


def _sum_of(v: Float[Array, " n"]) -> Sum:
    """The sum of all, with boxes of its own."""
    size = precision(v.dtype)
    boxes = choose_boxes(v, size)
    narrow = v.at[boxes.order].set(jnp.where(boxes.used, 0, v[boxes.order]))
    t = frequencies(boxes.period, size.few)
    variance = jnp.sum(narrow**2) / 3
    fourth = 3 * variance**2 - 2 / 15 * jnp.sum(narrow**4)
    phi = jnp.prod(sinc(narrow[:, None] * t), axis=0)
    return Sum(boxes.widths, boxes.used, t, phi, boxes.period, variance, fourth)


def _over_inputs(column: Column, pair: Callable[..., Pairs], *rows: Array, terms: int) -> Pairs:
    """`vmap` in blocks of inputs of which the arrays fit into a cache."""
    n = column.half.shape[0]
    corners = 2 ** precision(column.half.dtype).boxes
    edges = sum(x.shape[0] for x in column.edges)
    block = max(1, _CHUNK // (column.bins * (terms + corners * edges)))
    if block >= n:
        return jax.vmap(pair)(*rows)
    block = -(-n // -(-n // block))
    return jax.lax.map(lambda row: jax.checkpoint(pair)(*row), rows, batch_size=block)


def _in_edges(column: Column) -> Float[Array, "n_in edges"]:
    edges = column.inputs.edges
    return jnp.broadcast_to(edges, (column.weight.shape[0], edges.shape[-1]))


def _lone(
    column: Column,
    start: Float[Array, ""],
    weight: Float[Array, ""],
    in_edges: Float[Array, " in_edges"],
) -> Float[Array, "in_bins edges"]:
    """The distribution less 1/2 where one input moves: exact, also where edges meet edges."""
    ends = start + weight * in_edges
    lower, upper = jnp.minimum(ends[1:], ends[:-1]), jnp.maximum(ends[1:], ends[:-1])
    width = (upper - lower)[:, None]
    edges = _finite_edges(column)
    part = (edges - lower[:, None]) / jnp.where(width > 0, width, 1)
    step = jnp.where(width > 0, part, edges > lower[:, None])
    return _at_infinity(column, jnp.clip(step, 0, 1) - 0.5)


def _distribution(
    column: Column, total: Sum, shifts: Float[Array, " shifts"]
) -> Float[Array, "shifts edges"]:
    """The distribution less 1/2 at the edges of all branches."""
    edges = _finite_edges(column) - column.centre
    return _at_infinity(column, total.distribution(edges, shifts))


def _finite_edges(column: Column) -> Float[Array, " all_edges"]:
    # Infinity is taken out before any arithmetic, or gradients would turn NaN.
    edges = jnp.concatenate(column.edges)
    return jnp.where(jnp.isfinite(edges), edges, jax.lax.stop_gradient(column.centre))


def _at_infinity(column: Column, distribution: Array) -> Array:
    edges = jnp.concatenate(column.edges)
    return jnp.where(jnp.isfinite(edges), distribution, jnp.sign(edges) / 2)


def _read(column: Column, distribution: Array, half: Array, truncation: Array) -> Pairs:
    """The mutual information of a pair, given what fell inside."""
    table = column.cells(distribution)
    inside = jnp.mean(jnp.sum(table, axis=-1))
    eps = jnp.finfo(table.dtype).eps
    # What is left where nothing is inside is rounding, and says nothing.
    empty = inside < 64 * eps
    table = jnp.where(empty, 1, table)
    # An input without weight tells nothing; rounding would say otherwise.
    bits = jnp.where(half == 0, 0, mutual_information(table))
    # Each cell is off by at most twice the error of the distribution.
    fixed = jax.lax.stop_gradient(table)
    off = 2 * (truncation + 8 * eps)
    marginal = jnp.mean(fixed, axis=0)
    ratio = jnp.maximum(fixed, off) / jnp.maximum(marginal, off)
    error = off * jnp.sum(jnp.abs(jnp.log2(ratio))) / (column.bins * jnp.where(empty, 1, inside))
    return Pairs(bits, inside, jnp.where(empty | (half == 0), 0, error))
