"""Reading at indices: embeddings, gathers, NumPy-style indexing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._table import torch_operator


def embedding(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    rows = weight[indices]
    if padding_idx < 0:
        return rows
    # The row of the padding is read but never trained.
    return jnp.where((indices == padding_idx)[..., None], lax.stop_gradient(rows), rows)


torch_operator("aten.embedding.default", single=embedding)(embedding)


@torch_operator("aten._embedding_bag.default", "aten._embedding_bag_forward_only.default")
def embedding_bag(
    weight,
    indices,
    offsets,
    scale_grad_by_freq=False,
    mode=0,
    sparse=False,
    per_sample_weights=None,
    include_last_offset=False,
    padding_idx=-1,
):
    """Sums, means or maxima (mode 0, 1, 2) of rows; bag `i` starts at `offsets[i]`."""
    n_bags = len(offsets) - include_last_offset
    bag = jnp.searchsorted(offsets, jnp.arange(len(indices)), side="right") - 1
    bag = jnp.where(indices == padding_idx, n_bags, bag)  # the padding is in no bag
    rows = weight[indices]
    rows = rows if per_sample_weights is None else rows * per_sample_weights[:, None]
    sizes = jnp.zeros(n_bags, int).at[bag].add(1)
    if mode == 2:
        bags = jnp.full((n_bags, weight.shape[1]), -jnp.inf, rows.dtype).at[bag].max(rows)
        bags = jnp.where(sizes[:, None] > 0, bags, 0)
    else:
        bags = jnp.zeros((n_bags, weight.shape[1]), rows.dtype).at[bag].add(rows)
        bags = bags / jnp.maximum(sizes, 1)[:, None] if mode == 1 else bags
    return bags, bag, sizes, sizes  # all but the first serve torch's own gradient


@torch_operator("aten.index.Tensor", "aten._unsafe_index.Tensor")
def index(x, indices):
    return x[tuple(slice(None) if i is None else i for i in indices)]


@torch_operator("aten.masked_select.default")
def masked_select(x, mask):
    """`mask` is known on import: the shape of the result depends on it."""
    shape = np.broadcast_shapes(x.shape, mask.shape)
    return jnp.broadcast_to(x, shape)[np.broadcast_to(mask, shape)]


@torch_operator("aten.index_select.default")
def index_select(x, dim, indices):
    return jnp.take(x, jnp.atleast_1d(indices), axis=dim) if x.ndim else x


@torch_operator("aten.gather.default")
def gather(x, dim, index, *, sparse_grad=False):
    if not x.ndim:
        return jnp.broadcast_to(x, index.shape)
    within = [slice(0, size) for size in index.shape]  # the index may be smaller than `x`
    within[dim] = slice(None)
    return jnp.take_along_axis(x[tuple(within)], index, axis=dim)


@torch_operator("aten.take.default")
def take(x, index):
    return jnp.ravel(x)[index]


@torch_operator("aten.bucketize.Tensor")
def bucketize(x, boundaries, *, out_int32=False, right=False):
    return _search(boundaries, x, right)


@torch_operator("aten.searchsorted.Tensor", "aten.searchsorted.Scalar")
def searchsorted(edges, x, *, out_int32=False, right=False, side=None, sorter=None):
    """`edges`: one row for all, or a row for each row of `x`."""
    edges = edges if sorter is None else jnp.take_along_axis(edges, sorter, axis=-1)
    right = right or side == "right"
    if edges.ndim == 1:
        return _search(edges, jnp.asarray(x), right)
    rows = (jnp.reshape(values, (-1, values.shape[-1])) for values in (edges, x))
    return jnp.reshape(jax.vmap(functools.partial(_search, right=right))(*rows), x.shape)


def _search(edges, x, right):
    """torch's own bisection, which decides also for edges and values that are no numbers."""
    low, high = jnp.zeros(x.shape, int), jnp.full(x.shape, len(edges))
    for _ in range(len(edges).bit_length()):
        middle = low + (high - low) // 2
        edge = edges[jnp.minimum(middle, len(edges) - 1)]
        beyond = ~((edge > x) if right else (edge >= x)) & (low < high)
        low, high = jnp.where(beyond, middle + 1, low), jnp.where(beyond, high, middle)
    return low


@torch_operator("aten._unsafe_masked_index.default")
def masked_index(x, mask, indices, fill):
    clipped = [
        None if i is None else jnp.clip(i, 0, x.shape[axis] - 1) for axis, i in enumerate(indices)
    ]
    return jnp.where(mask, index(x, clipped), fill)
