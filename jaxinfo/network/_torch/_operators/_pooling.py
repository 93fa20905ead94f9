"""Pooling of one to three dimensions: ceil mode, dilation, counted padding, adaptive sizes."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._table import torch_operator


def _sizes(sizes, n, default=()):
    """One size for each of `n` axes; an empty list takes the default, one stands for all."""
    sizes = list(sizes) if isinstance(sizes, list | tuple) else [sizes]
    sizes = sizes or list(default)
    return sizes * n if len(sizes) == 1 else sizes


def _out_size(size, kernel, stride, padding, dilation, ceil_mode):
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    out = (-(-span // stride) if ceil_mode else span // stride) + 1
    # A window that would start in the padding on the right is left out.
    return out - 1 if ceil_mode and (out - 1) * stride >= size + padding else out


def _right(size, kernel, stride, padding, dilation, out):
    """Padding on the right so that the last window is whole."""
    return max((out - 1) * stride + dilation * (kernel - 1) + 1 - size - padding, 0)


def _windows(x, n, kernel_size, stride, padding, dilation, ceil_mode):
    """Kernel, strides, dilation and the padding on both sides, one entry for each axis of `x`."""
    kernel = _sizes(kernel_size, n)
    stride = _sizes(stride, n, default=kernel)
    padding, dilation = _sizes(padding, n), _sizes(dilation, n)
    space = x.shape[x.ndim - n :]
    args = list(zip(space, kernel, stride, padding, dilation, strict=True))
    out = [_out_size(*a, ceil_mode) for a in args]
    sides = [(a[3], _right(*a, o)) for a, o in zip(args, out, strict=True)]
    return kernel, stride, dilation, sides, out


def _lead(x, n, values, fill):
    return [fill] * (x.ndim - n) + list(values)


def _lowest(dtype):
    is_float = jnp.issubdtype(dtype, jnp.inexact)
    return np.array(-np.inf if is_float else np.iinfo(dtype).min, dtype)


def _max_pool(x, n, kernel_size, stride=(), padding=0, dilation=1, ceil_mode=False):
    kernel, strides, spread, sides, _ = _windows(
        x, n, kernel_size, stride, padding, dilation, ceil_mode
    )
    if any(d != 1 for d in spread):  # a dilated window has no gradient in JAX
        return _max_pool_with_indices(x, n, kernel_size, stride, padding, dilation, ceil_mode)[0]
    return lax.reduce_window(
        x,
        _lowest(x.dtype),
        lax.max,
        _lead(x, n, kernel, 1),
        _lead(x, n, strides, 1),
        _lead(x, n, sides, (0, 0)),
    )


def _max_pool_with_indices(x, n, kernel_size, stride=(), padding=0, dilation=1, ceil_mode=False):
    """The maximum over the entries of the window, and its index in the flattened image."""
    kernel, stride, dilation, sides, out = _windows(
        x, n, kernel_size, stride, padding, dilation, ceil_mode
    )
    space = x.shape[x.ndim - n :]
    padded = jnp.pad(x, _lead(x, n, sides, (0, 0)), constant_values=_lowest(x.dtype))
    positions = np.pad(
        np.arange(math.prod(space), dtype=np.int32).reshape(space), sides, constant_values=-1
    )
    entries, places = [], []
    for offset in itertools.product(*map(range, kernel)):
        slices = tuple(
            slice(o * d, o * d + (size - 1) * s + 1, s)
            for o, d, size, s in zip(offset, dilation, out, stride, strict=True)
        )
        entries.append(padded[(..., *slices)])
        places.append(positions[slices])
    stacked = jnp.stack(entries)
    winner = jnp.argmax(stacked, axis=0, keepdims=True)
    values = jnp.take_along_axis(stacked, winner, axis=0)[0]
    places = np.stack(places).reshape(len(places), *[1] * (x.ndim - n), *out)
    indices = jnp.take_along_axis(jnp.broadcast_to(places, stacked.shape), winner, axis=0)[0]
    return values, indices


def _avg_pool(
    x,
    n,
    kernel_size,
    stride=(),
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    kernel, stride, _, sides, out = _windows(x, n, kernel_size, stride, padding, 1, ceil_mode)
    total = lax.reduce_window(
        x,
        np.array(0, x.dtype),
        lax.add,
        _lead(x, n, kernel, 1),
        _lead(x, n, stride, 1),
        _lead(x, n, sides, (0, 0)),
    )
    if divisor_override is not None:
        return total / divisor_override
    counts = np.ones(())
    space = x.shape[x.ndim - n :]
    for size, k, s, (left, _), o in zip(space, kernel, stride, sides, out, strict=True):
        start = np.arange(o) * s - left
        stop = np.minimum(start + k, size + left)
        inside = np.minimum(stop, size) - np.maximum(start, 0)
        counts = counts[..., None] * (stop - start if count_include_pad else inside)
    if np.all(counts == counts.flat[0]):
        return total / float(counts.flat[0])
    return total / jnp.asarray(counts, x.dtype)


def _bins(x, n, output_size):
    """For each pooled axis its bins: bin `i` of `m` is floor(i L / m) to ceil((i + 1) L / m)."""
    sizes = zip(x.shape[x.ndim - n :], _sizes(output_size, n), strict=True)
    for length, m in sizes:
        m = length if m is None else m
        yield [(i * length // m, -(-(i + 1) * length // m)) for i in range(m)]


def _adaptive(reduce, x, n, output_size):
    """Reduce axis by axis."""
    for axis, bins in enumerate(_bins(x, n, output_size), start=x.ndim - n):
        parts = (lax.slice_in_dim(x, start, stop, axis=axis) for start, stop in bins)
        x = jnp.concatenate([reduce(part, axis) for part in parts], axis=axis)
    return x


def _adaptive_avg_pool(x, n, output_size):
    space, sizes = x.shape[x.ndim - n :], _sizes(output_size, n)
    if all(m is not None and length % m == 0 for length, m in zip(space, sizes, strict=True)):
        return _avg_pool(x, n, [length // m for length, m in zip(space, sizes, strict=True)])
    return _adaptive(lambda part, axis: jnp.mean(part, axis, keepdims=True), x, n, output_size)


def _adaptive_max_pool(x, n, output_size):
    return _adaptive(lambda part, axis: jnp.max(part, axis, keepdims=True), x, n, output_size)


def _adaptive_max_pool_with_indices(x, n, output_size):
    """The maximum over each bin, and its index in the flattened image."""
    lead, space = x.shape[: x.ndim - n], x.shape[x.ndim - n :]
    bins = list(_bins(x, n, output_size))
    positions = np.arange(math.prod(space)).reshape(space)
    values, indices = [], []
    for sides in itertools.product(*bins):
        block = tuple(slice(*side) for side in sides)
        entries = jnp.reshape(x[(..., *block)], (*lead, -1))
        winner = jnp.argmax(entries, axis=-1, keepdims=True)
        values.append(jnp.take_along_axis(entries, winner, axis=-1))
        indices.append(jnp.asarray(np.ravel(positions[block]))[winner])
    shape = (*lead, *map(len, bins))
    return tuple(jnp.reshape(jnp.concatenate(v, axis=-1), shape) for v in (values, indices))


def _of(fn, n):
    return lambda x, *args, **kwargs: fn(x, n, *args, **kwargs)


for dims in (1, 2, 3):
    torch_operator(f"aten.avg_pool{dims}d.default", pool=True)(_of(_avg_pool, dims))
    torch_operator(f"aten.max_pool{dims}d.default", f"aten.max_pool{dims}d.values", pool=True)(
        _of(_max_pool, dims)
    )
    torch_operator(f"aten.max_pool{dims}d_with_indices.default", pool=True)(
        _of(_max_pool_with_indices, dims)
    )
    overloads = (f"_adaptive_avg_pool{dims}d", f"adaptive_avg_pool{dims}d")[dims == 1 :]
    torch_operator(*(f"aten.{overload}.default" for overload in overloads), pool=True)(
        _of(_adaptive_avg_pool, dims)
    )
    torch_operator(f"aten.adaptive_max_pool{dims}d.values", pool=True)(
        _of(_adaptive_max_pool, dims)
    )
    torch_operator(f"aten.adaptive_max_pool{dims}d.default", pool=True)(
        _of(_adaptive_max_pool_with_indices, dims)
    )
