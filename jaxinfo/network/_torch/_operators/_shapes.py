"""Layout: reshapes, permutations, slices, joining, padding."""

import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._table import torch_operator


def _view_single(x, shape):
    return jnp.reshape(x, tuple(shape)[1:])


@torch_operator(
    "aten.view.default",
    "aten.reshape.default",
    "aten._unsafe_view.default",
    "aten.view_copy.default",
    "aten._reshape_copy.default",
    single=_view_single,
)
def view(x, shape):
    return jnp.reshape(x, tuple(shape))


def _permute_single(x, dims):
    axes = [dim % (x.ndim + 1) for dim in dims]
    return jnp.transpose(x, [axis - 1 for axis in axes[1:]])


@torch_operator("aten.permute.default", "aten.permute_copy.default", single=_permute_single)
def permute(x, dims):
    return jnp.transpose(x, tuple(dims))


@torch_operator("aten.transpose.int", "aten.transpose_copy.int")
def transpose(x, dim0, dim1):
    return jnp.swapaxes(x, dim0, dim1) if x.ndim else x


@torch_operator("aten.t.default", "aten.t_copy.default")
def t(x):
    return x.T


def _unsqueeze_single(x, dim):
    return jnp.expand_dims(x, dim % (x.ndim + 2) - 1)


@torch_operator("aten.unsqueeze.default", "aten.unsqueeze_copy.default", single=_unsqueeze_single)
def unsqueeze(x, dim):
    return jnp.expand_dims(x, dim)


@torch_operator("aten.squeeze.default")
def squeeze(x):
    return jnp.squeeze(x)


@torch_operator("aten.squeeze.dim", "aten.squeeze.dims", "aten.squeeze_copy.dims")
def squeeze_dims(x, dims):
    dims = [dims] if isinstance(dims, int) else dims
    ones = {dim % x.ndim for dim in dims if x.ndim and x.shape[dim] == 1}
    return jnp.squeeze(x, tuple(ones))


@torch_operator("aten.expand.default", "aten.expand_copy.default")
def expand(x, size, *, implicit=False):
    new = len(size) - x.ndim
    shape = [x.shape[i - new] if s == -1 else s for i, s in enumerate(size)]
    return jnp.broadcast_to(x, shape)


@torch_operator("aten.broadcast_to.default")
def broadcast_to(x, size):
    return expand(x, size)


@torch_operator("aten.repeat.default")
def repeat(x, repeats):
    return jnp.tile(x, tuple(repeats))


@torch_operator("aten.repeat_interleave.self_int")
def repeat_interleave(x, repeats, dim=None, *, output_size=None):
    return jnp.repeat(x, repeats, axis=dim)


@torch_operator("aten.cat.default")
def cat(tensors, dim=0):
    # torch lets an empty vector stand for nothing at all.
    return jnp.concatenate([x for x in tensors if x.shape != (0,)] or tensors[:1], axis=dim)


@torch_operator("aten.stack.default")
def stack(tensors, dim=0):
    return jnp.stack(tensors, axis=dim)


@torch_operator("aten.split_with_sizes.default", "aten.split_with_sizes_copy.default")
def split_with_sizes(x, sizes, dim=0):
    return tuple(jnp.split(x, list(itertools.accumulate(sizes))[:-1], axis=dim))


@torch_operator("aten.split.Tensor", "aten.split_copy.Tensor")
def split(x, size, dim=0):
    length = x.shape[dim]
    return split_with_sizes(x, [min(size, length - i) for i in range(0, length, size or 1)], dim)


@torch_operator("aten.unbind.int", "aten.unbind_copy.int")
def unbind(x, dim=0):
    return tuple(jnp.moveaxis(x, dim, 0))


@torch_operator("aten.slice.Tensor", "aten.slice_copy.Tensor")
def slice_(x, dim=0, start=None, end=None, step=1):
    start, end = _bounds(x.shape[dim], start, end)
    if (start, end, step) == (0, x.shape[dim], 1):
        return x
    return lax.slice_in_dim(x, start, end, step, axis=dim)


def _bounds(length, start, end):
    start, end, _ = slice(start, end).indices(length)
    return start, max(start, end)


@torch_operator("aten.slice_scatter.default")
def slice_scatter(x, source, dim=0, start=None, end=None, step=1):
    start, end = _bounds(x.shape[dim], start, end)
    where = [slice(None)] * x.ndim
    where[dim] = slice(start, end, step)
    return x.at[tuple(where)].set(source)


@torch_operator("aten.select.int", "aten.select_copy.int")
def select(x, dim, index):
    return lax.index_in_dim(x, index, axis=dim, keepdims=False)


@torch_operator("aten.select_scatter.default")
def select_scatter(x, source, dim, index):
    where = [slice(None)] * x.ndim
    where[dim] = index
    return x.at[tuple(where)].set(source)


@torch_operator("aten.flip.default")
def flip(x, dims):
    return jnp.flip(x, tuple(dims))


@torch_operator("aten.roll.default")
def roll(x, shifts, dims=()):
    if not dims:
        return jnp.roll(x, shifts[0])
    return jnp.roll(x, tuple(shifts), tuple(dims))


@torch_operator("aten.constant_pad_nd.default")
def constant_pad(x, pad, value=0.0):
    config = [(0, 0, 0)] * (x.ndim - len(pad) // 2)
    config += [(low, high, 0) for low, high in zip(pad[-2::-2], pad[::-2], strict=True)]
    return lax.pad(x, jnp.asarray(value, x.dtype), config)


def _pad_mode(mode):
    def pad_mode(x, padding):
        widths = list(reversed(list(zip(padding[::2], padding[1::2], strict=True))))
        grow = [(0, 0)] * (x.ndim - len(widths)) + [(max(a, 0), max(b, 0)) for a, b in widths]
        x = jnp.pad(x, grow, mode=mode)
        for axis, (low, high) in enumerate(widths, start=x.ndim - len(widths)):
            x = lax.slice_in_dim(x, max(-low, 0), x.shape[axis] - max(-high, 0), axis=axis)
        return x

    return pad_mode


for dims in (1, 2, 3):
    torch_operator(f"aten.reflection_pad{dims}d.default")(_pad_mode("reflect"))
    torch_operator(f"aten.replication_pad{dims}d.default")(_pad_mode("edge"))


@torch_operator("aten.diagonal.default", "aten.diagonal_copy.default")
def diagonal(x, offset=0, dim1=0, dim2=1):
    return jnp.diagonal(x, offset, dim1, dim2)


@torch_operator("aten.diag_embed.default")
def diag_embed(x, offset=0, dim1=-2, dim2=-1):
    n = x.shape[-1] + abs(offset)
    rows = jnp.arange(x.shape[-1]) + max(-offset, 0)
    full = jnp.zeros((*x.shape[:-1], n, n), x.dtype)
    full = full.at[..., rows, rows + offset].set(x)
    return jnp.moveaxis(full, (-2, -1), (dim1, dim2))


@torch_operator("aten.as_strided.default")
def as_strided(x, size, stride, storage_offset=0, *, order=None):
    """`order`: the axes of `x` from the slowest in memory to the fastest, noted on import; else as
    they are."""
    in_memory = jnp.ravel(jnp.transpose(x, order))
    places = np.full((), storage_offset or 0)
    for length, step in zip(size, stride, strict=True):
        places = places[..., None] + np.arange(length) * step
    if places.size == in_memory.size and np.array_equal(places.ravel(), np.arange(places.size)):
        return jnp.reshape(in_memory, places.shape)
    return in_memory[places]


@torch_operator("aten.tril.default")
def tril(x, diagonal=0):
    return jnp.tril(x, diagonal)


@torch_operator("aten.triu.default")
def triu(x, diagonal=0):
    return jnp.triu(x, diagonal)


@torch_operator("aten.unfold.default", "aten.unfold_copy.default")
def unfold(x, dimension, size, step):
    if not x.ndim:
        return jnp.broadcast_to(x, (size,))
    starts = jnp.arange(0, x.shape[dimension] - size + 1, step)
    windows = jnp.take(x, starts[:, None] + jnp.arange(size), axis=dimension)
    return jnp.moveaxis(windows, dimension % x.ndim + 1, -1)


@torch_operator("aten.pixel_shuffle.default")
def pixel_shuffle(x, upscale_factor):
    r = upscale_factor
    *lead, c, h, w = x.shape
    parts = jnp.reshape(x, (*lead, c // r**2, r, r, h, w))
    n = len(lead)
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return jnp.reshape(jnp.transpose(parts, order), (*lead, c // r**2, h * r, w * r))


@torch_operator("aten.pixel_unshuffle.default")
def pixel_unshuffle(x, downscale_factor):
    r = downscale_factor
    *lead, c, h, w = x.shape
    parts = jnp.reshape(x, (*lead, c, h // r, r, w // r, r))
    n = len(lead)
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return jnp.reshape(jnp.transpose(parts, order), (*lead, c * r**2, h // r, w // r))


@torch_operator("aten.channel_shuffle.default", "aten.native_channel_shuffle.default")
def channel_shuffle(x, groups):
    n, c, *space = x.shape
    parts = jnp.reshape(x, (n, groups, c // groups, *space))
    return jnp.reshape(jnp.swapaxes(parts, 1, 2), x.shape)
