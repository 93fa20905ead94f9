"""Writing at indices."""

import jax.numpy as jnp

from .._table import torch_operator


def _places(x, dim, index):
    """For each entry of `index`, the full index in `x`: its own position, but `index` along `dim`."""
    places = list(jnp.indices(index.shape, sparse=True))
    places[dim] = index
    return tuple(places)


def _source(source, index):
    """The part of a source that is written: where the index has entries."""
    if not jnp.ndim(source):
        return source
    return source[tuple(slice(0, size) for size in index.shape)]


@torch_operator("aten.scatter.src", "aten.scatter.value")
def scatter(x, dim, index, source):
    if not x.ndim:
        return jnp.broadcast_to(_source(source, index), x.shape) if index.size else x
    return x.at[_places(x, dim, index)].set(_source(source, index))


@torch_operator("aten.scatter_add.default")
def scatter_add(x, dim, index, source):
    return scatter_reduce(x, dim, index, source, "sum")


@torch_operator("aten.scatter.reduce", "aten.scatter.value_reduce")
def scatter_combined(x, dim, index, source, *, reduce):
    return scatter_reduce(x, dim, index, source, {"add": "sum", "multiply": "prod"}[reduce])


@torch_operator("aten.scatter_reduce.two")
def scatter_reduce(x, dim, index, source, reduce, *, include_self=True):
    if not x.ndim:
        reduced = scatter_reduce(
            x[None],
            0,
            jnp.atleast_1d(index),
            jnp.atleast_1d(source),
            reduce,
            include_self=include_self,
        )
        return reduced[0]
    where, source = _places(x, dim, index), _source(source, index)
    start = x if include_self else x.at[where].set(_neutral(reduce, x.dtype))
    if reduce == "sum":
        return start.at[where].add(source)
    if reduce == "prod":
        return _multiplied(start, dim % x.ndim, index, source)
    if reduce == "amax":
        return start.at[where].max(source)
    if reduce == "amin":
        return start.at[where].min(source)
    counts = jnp.zeros(x.shape, int).at[where].add(1)
    counts = jnp.maximum(counts + int(include_self), 1)
    total = start.at[where].add(source)
    is_float = jnp.issubdtype(x.dtype, jnp.inexact)
    return total / counts.astype(x.dtype) if is_float else total // counts


def _multiplied(x, dim, index, source):
    """Entry by entry the product of what is sent there; JAX cannot differentiate a scattered one."""
    targets = jnp.expand_dims(jnp.arange(x.shape[dim]), tuple(range(1, x.ndim - dim + 1)))
    hits = jnp.expand_dims(index, dim) == targets
    source = jnp.broadcast_to(source, index.shape)
    factor = jnp.prod(jnp.where(hits, jnp.expand_dims(source, dim), 1), axis=dim + 1)
    where = tuple(slice(0, size) for size in factor.shape)
    return x.at[where].multiply(factor.astype(x.dtype), unique_indices=True)


def _neutral(reduce, dtype):
    is_float = jnp.issubdtype(dtype, jnp.inexact)
    lowest, highest = (
        (-jnp.inf, jnp.inf) if is_float else (jnp.iinfo(dtype).min, jnp.iinfo(dtype).max)
    )
    return {"sum": 0, "mean": 0, "prod": 1, "amax": lowest, "amin": highest}[reduce]


@torch_operator("aten.index_put.default", "aten._unsafe_index_put.default")
def index_put(x, indices, values, accumulate=False):
    given = [i for i in indices if i is not None]
    if len(given) == 1 and given[0].dtype == bool and indices[0] is given[0]:
        mask = jnp.reshape(given[0], (*given[0].shape, *[1] * (x.ndim - given[0].ndim)))
        if values.ndim <= x.ndim - given[0].ndim:  # the same values wherever the mask is true
            return jnp.where(mask, x + values if accumulate else values, x)
    where = x.at[tuple(slice(None) if i is None else i for i in indices)]
    return where.add(values) if accumulate else where.set(values)


@torch_operator("aten.index_add.default")
def index_add(x, dim, index, source, *, alpha=1):
    if not x.ndim:
        return x + alpha * jnp.sum(source)
    where = [slice(None)] * x.ndim
    where[dim] = jnp.atleast_1d(index)
    return x.at[tuple(where)].add(alpha * source)


@torch_operator("aten.index_reduce.default")
def index_reduce(x, dim, index, source, reduce, *, include_self=True):
    along = [-1 if axis == dim % x.ndim else 1 for axis in range(x.ndim)]
    index = jnp.broadcast_to(jnp.reshape(index, along), source.shape)
    return scatter_reduce(x, dim, index, source, reduce, include_self=include_self)


@torch_operator("aten.put.default")
def put(x, index, source, accumulate=False):
    where, source = jnp.ravel(x).at[index], jnp.reshape(source, index.shape)
    flat = where.add(source) if accumulate else where.set(source)
    return jnp.reshape(flat, x.shape)


@torch_operator("aten.index_copy.default")
def index_copy(x, dim, index, source):
    where = [slice(None)] * x.ndim
    if not x.ndim:
        return jnp.reshape(source, ())
    where[dim] = jnp.atleast_1d(index)
    return x.at[tuple(where)].set(source)


@torch_operator("aten.index_fill.int_Scalar", "aten.index_fill.int_Tensor")
def index_fill(x, dim, index, value):
    return index_copy(x, dim, index, value)


@torch_operator("aten.masked_scatter.default")
def masked_scatter(x, mask, source):
    """The entries under the mask, in order, take the first entries of the source."""
    mask, x = jnp.broadcast_arrays(mask, x)
    order = jnp.cumsum(jnp.ravel(mask)) - 1
    taken = jnp.ravel(source)[jnp.clip(order, 0, source.size - 1)]
    return jnp.where(mask, jnp.reshape(taken, x.shape), x)
