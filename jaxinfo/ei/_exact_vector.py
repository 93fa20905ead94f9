r"""Vector EI in closed form, where that can be done honestly.

- Outputs that share no input (no weight to both) are independent, kept or not: their EI adds up.
- One output neuron and any inputs: given the bins of these, the output is still a constant plus a sum of
  uniform variables, now with $\text{in\_bins}^{|\text{inputs}|}$ constants.
- Several outputs of at most two inputs: the probability of a cell is the area of a polygon, what the
  strips $e_j \le w \cdot x + b \le e_{j+1}$ leave of a rectangle. With $u$ along one side, the length of
  the cut is linear between the places where two of the lines meet, so the midpoint of each stretch is
  exact.
"""

import itertools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._core import is_traced
from ._intervention import Setting
from ._method import Group
from ._table import Column, columns_of, group_table, information

_STATES = 2**24  # cells of the largest table
_BATCH = 2**13

Neurons = Int[Array | np.ndarray, " neurons"]


class _Part(NamedTuple):
    """Outputs that inputs tie together, and those inputs that have a weight to them.

    Arrays, so that groups of other neurons but as many share compiled code.
    """

    known: Neurons
    noise: Neurons
    outputs: Neurons


def exact_group(setting: Setting, group: Group) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The vector EI of a group in bits, and the mass inside."""
    columns, parts = columns_of(setting), _parts(setting, group)
    for part in parts:
        _refuse_too_much(setting, columns, part)
    return _measured(columns, parts)


@eqx.filter_jit
def _measured(columns: Column, parts: list[_Part]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    bits, inside = [], []
    for part in parts:
        table = _table(columns, part)
        mass = jnp.sum(table) / table.shape[0]
        empty = mass < 64 * jnp.finfo(table.dtype).eps
        found = information(jnp.where(empty, 1, table))
        bits.append(jnp.where(empty, 0, found))
        inside.append(mass)
    together = jnp.prod(jnp.stack(inside))
    # Where nothing is inside, nothing is known of any part.
    return jnp.where(together > 0, sum(bits), 0), jax.lax.stop_gradient(together)


def _parts(setting: Setting, group: Group) -> list[_Part]:
    inputs, outputs = group
    weight = setting.channel.weight
    if is_traced(weight):
        linked = np.ones(weight.shape, bool)  # not known which are zero
    else:
        linked = np.asarray(weight) != 0
    parts = []
    left = list(outputs)
    while left:
        tied, before = [left[0]], 0
        while len(tied) > before:
            before = len(tied)
            touched = linked[:, tied].any(axis=1)
            tied = [b for b in left if b in tied or (linked[:, b] & touched).any()]
        touched = np.flatnonzero(linked[:, tied].any(axis=1)).tolist()
        known, noise = ([a for a in touched if (a in inputs) == kept] for kept in (True, False))
        parts.append(_Part(*(np.array(x, np.int32) for x in (known, noise, tied))))
        left = [b for b in left if b not in tied]
    return parts


def _refuse_too_much(setting: Setting, columns: Column, part: _Part) -> None:
    bins, name = setting.out_binning.bins, setting.channel.name
    known, _, outputs = (tuple(neurons.tolist()) for neurons in part)
    count = len(known) + len(part.noise)
    if len(outputs) > 1 and count > 2:
        raise ValueError(
            f"`Exact()` has a closed form of vector EI for one output of any number of inputs, or for "
            f"several outputs of at most two inputs; in {name!r} outputs {outputs} share "
            f"{count} inputs. Measure smaller groups (`eis_between_groups`), or use `Sampling()`."
        )
    branches = len(columns.signs) ** len(outputs)
    states = columns.bins ** len(known) * branches * bins ** len(outputs)
    if states > _STATES:
        raise ValueError(
            f"The joint table of inputs {known} and outputs {outputs} of {name!r} has "
            f"{states} cells; `Exact()` goes up to {_STATES}. Use fewer bins, smaller groups "
            "(`eis_between_groups`), or `Sampling()`."
        )


def _table(columns: Column, part: _Part) -> Float[Array, "rows states"]:
    if len(part.outputs) > 1:
        return _polygons(columns, part)
    (b,) = part.outputs
    column = Column(
        columns.weight[b], columns.bias[b], columns.edges[b], columns.signs, columns.inputs
    )
    return group_table(column, part.known)


def _polygons(columns: Column, part: _Part) -> Float[Array, "rows states"]:
    """The area that each combination of output bins takes of each cell of the known inputs."""
    inputs, outs = columns.inputs, part.outputs
    dtype, bins = columns.weight.dtype, columns.edges.shape[-1] - 1
    m, kinds = len(part.outputs), len(columns.signs)
    # Each output, from its place at the lower corner of the cell, by what each input adds across it.
    axes = [(a, inputs.bins) for a in part.known] + [(a, 1) for a in part.noise]
    axes += [(None, 1)] * (2 - len(axes))
    start, slopes = columns.bias[outs], []
    for a, parts in axes:
        w = jnp.zeros(m, dtype) if a is None else columns.weight[outs, a]
        start = start + w * inputs.lower
        slopes.append(w * (inputs.upper - inputs.lower) / parts)
    cells = [c[:2] for c in itertools.product(*(range(parts) for _, parts in axes))]
    corner = jnp.array(cells, dtype) @ jnp.stack(slopes)
    # [outputs, branches, bins]: a falling branch has its edges the other way round.
    edges = columns.edges[outs]
    lower = jnp.minimum(edges[..., :-1], edges[..., 1:]).reshape(m, -1)
    upper = jnp.maximum(edges[..., :-1], edges[..., 1:]).reshape(m, -1)
    combos = jnp.indices((kinds * bins,) * m).reshape(m, -1).T

    def area(index: Array) -> Array:
        cell, combo = index // combos.shape[0], combos[index % combos.shape[0]]
        pick = jnp.arange(m), combo
        base = start + corner[cell]
        return _area(lower[pick] - base, upper[pick] - base, slopes[0], slopes[1])

    size = len(cells) * combos.shape[0]
    batch = min(_BATCH, size)
    # Filled up to whole batches: older JAX has no derivative of sorting a rest of none.
    numbers = jnp.minimum(jnp.arange(-(-size // batch) * batch), size - 1).reshape(-1, batch)
    found = jax.lax.map(jax.vmap(jax.checkpoint(area)), numbers).ravel()[:size]
    found = found.reshape(len(cells), *(kinds, bins) * m)
    return jnp.sum(found, axis=tuple(1 + 2 * i for i in range(m))).reshape(len(cells), -1)


def _area(low: Array, high: Array, along: Array, across: Array) -> Float[Array, ""]:
    """The part of the unit square with `low <= along * u + across * v <= high` for each output."""
    edge, alpha, beta = (jnp.concatenate(x) for x in ([low, high], [along] * 2, [across] * 2))
    finite = jnp.isfinite(edge)
    edge = jnp.where(finite, edge, 0)
    meet_sides = [_ratio(edge - beta * v, alpha, finite) for v in (0, 1)]
    i, j = jnp.triu_indices(edge.shape[0], 1)
    meet = _ratio(
        beta[j] * edge[i] - beta[i] * edge[j],
        alpha[i] * beta[j] - alpha[j] * beta[i],
        finite[i] & finite[j],
    )
    ends = jnp.array([0, 1], edge.dtype)
    u = jnp.sort(jnp.clip(jnp.concatenate([ends, *meet_sides, meet]), 0, 1))
    middle = (u[1:] + u[:-1]) / 2
    return jnp.sum(jnp.diff(u) * _cut(low, high, along, across, middle))


def _cut(low: Array, high: Array, along: Array, across: Array, u: Array) -> Array:
    """The length in `v` that all strips leave at each `u`."""
    place = along * u[:, None]
    level = across == 0
    ends = []
    for bound in (low, high):
        finite = jnp.isfinite(bound)
        v = (jnp.where(finite, bound, 0) - place) / jnp.where(level, 1, across)
        # An infinite bound lies past one end of the side; a strip between two of them is empty.
        ends.append(jnp.where(finite, v, jnp.where((bound > 0) == (across > 0), 2.0, -1.0)))
    below, above = jnp.clip(jnp.minimum(*ends), 0, 1), jnp.clip(jnp.maximum(*ends), 0, 1)
    kept = jnp.where(level, (place >= low) & (place < high), True)
    bottom = jnp.max(jnp.where(level, 0, below), axis=1)
    top = jnp.min(jnp.where(level, 1, above), axis=1)
    return jnp.where(jnp.all(kept, axis=1), jnp.maximum(top - bottom, 0), 0)


def _ratio(x: Array, y: Array, usable: Bool[Array, "..."]) -> Array:
    usable = usable & (y != 0)
    return jnp.where(usable, x / jnp.where(usable, y, 1), 0)
