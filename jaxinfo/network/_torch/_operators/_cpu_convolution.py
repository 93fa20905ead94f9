"""Convolutions in the form that XLA computes fastest on a CPU.

The plain form has slow spots there. XLA shares the columns of an image among threads, but never its
rows nor the images of a batch, so that a batch of small images keeps one core busy. It transposes the
kernels at every call, which in the deep layers of a network, many kernels on a few positions, takes
longer than the convolution. And it has no fast form of groups. On other platforms nothing changes.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

_MANY = 1 << 24
"""Products that take a core about a tenth of a millisecond; below, arranging takes longer."""

_LARGE = 1 << 17
"""Numbers in kernels that are slow to transpose, but are shared among threads as they are."""

_PATCHES = 1 << 25
"""Numbers in patches that are worth their memory, 128 MiB in single precision."""

_WIDE, _HEAVY = 512, 1 << 20
"""A row is shared among threads if it has so many columns, or takes so many products a tap."""


def convolve(
    x: Array,
    weight: Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    plain: Callable[[Array, Array], Array],
) -> Array:
    """What `plain(x, weight)` computes, from `(n, groups c, *space)` and `(o, c, *taps)`."""
    space = [
        (size + before + after - d * (k - 1) - 1) // s + 1
        for size, (before, after), k, s, d in zip(
            x.shape[2:], padding, weight.shape[2:], strides, dilation, strict=True
        )
    ]
    form = _fastest_form(x, weight, len(x) * math.prod(space))
    if form is None:
        return plain(x, weight)

    def arranged(x: Array, weight: Array) -> Array:
        return form(x, weight, space, strides, padding, dilation)

    return lax.platform_dependent(x, weight, cpu=arranged, default=plain)


def _fastest_form(x, weight, positions):
    """One of the forms below, or `None` for the plain one; `positions` are those of the output."""
    inputs, (outputs, per_group, *taps) = x.shape[1], weight.shape
    taps, products = math.prod(taps), positions * weight.size
    if x.dtype.itemsize < 4 or products == 0:
        return None
    if per_group == 1 and inputs == outputs > 1 and taps <= 64:
        return _shifted_multiples
    fits = positions * inputs * taps <= _PATCHES
    if inputs > per_group:
        return _kernels_times_patches if fits and products >= _MANY // 128 else None
    if x.ndim == 5 and taps > 1 and products >= _MANY:
        if inputs <= 4 and fits:
            return _kernels_times_patches
        return _plane_by_plane if weight[:, :, 0].size < _LARGE else None
    if x.ndim != 4:
        return None
    if positions <= outputs and weight.size >= _LARGE:
        return _kernels_times_patches
    if taps == 1 or (taps <= 16 and inputs <= 4):  # the patches are nearly the input
        return _patches_times_kernels if products >= _MANY // 4 else None
    return _side_by_side if products >= _MANY and weight.size < _LARGE else None


def _shifted_multiples(x, weight, space, strides, padding, dilation):
    """One kernel for each channel, as a sum that XLA fuses."""
    x = jnp.pad(x, [(0, 0), (0, 0), *padding])
    total = jnp.zeros((), x.dtype)
    taps = itertools.product(*map(range, weight.shape[2:]))
    for tap, window in zip(taps, _windows(weight, space, strides, dilation), strict=True):
        factor = jnp.reshape(weight[:, 0, *tap], (-1, *[1] * len(tap)))
        total = total + x[:, :, *window] * factor
    return total


def _kernels_times_patches(x, weight, space, strides, padding, dilation):
    """Many kernels, left as they lie in memory, and the smaller matrix of all patches."""
    groups, n = x.shape[1] // weight.shape[1], len(x)
    x = jnp.pad(jnp.swapaxes(x, 0, 1), ((0, 0), (0, 0), *padding))
    windows = _windows(weight, space, strides, dilation)
    patches = jnp.stack([x[:, :, *window] for window in windows], axis=1)
    kernels = jnp.reshape(weight, (groups, len(weight) // groups, -1))
    out = kernels @ jnp.reshape(patches, (groups, kernels.shape[2], -1))
    return jnp.swapaxes(jnp.reshape(out, (len(weight), n, *space)), 0, 1)


def _patches_times_kernels(x, weight, space, strides, padding, dilation):
    """One product for single taps, and for input channels too few to be an inner loop by tap."""
    x = jnp.transpose(x, (2, 0, 3, 1))
    x = jnp.pad(x, (padding[0], (0, 0), padding[1], (0, 0)))
    windows = _windows(weight, space, strides, dilation)
    patches = jnp.concatenate([x[rows, :, columns] for rows, columns in windows], axis=-1)
    kernels = jnp.reshape(jnp.transpose(weight, (2, 3, 1, 0)), (-1, len(weight)))
    out = jnp.reshape(patches, (-1, len(kernels))) @ kernels
    return jnp.transpose(jnp.reshape(out, (space[0], -1, space[1], len(weight))), (1, 3, 0, 2))


def _plane_by_plane(x, weight, space, strides, padding, dilation):
    """Volumes as batches of planes, in a sum over the depth of the kernel."""
    x = jnp.pad(x, ((0, 0), (0, 0), padding[0], (0, 0), (0, 0)))
    total = jnp.zeros((), x.dtype)
    depths = _windows(weight[..., 0, 0], space[:1], strides[:1], dilation[:1])
    for depth, (window,) in enumerate(depths):
        planes = jnp.swapaxes(x[:, :, window], 1, 2)
        planes = jnp.reshape(planes, (-1, *planes.shape[2:]))
        tap = weight[:, :, depth]
        total = total + _side_by_side(
            planes, tap, space[1:], strides[1:], padding[1:], dilation[1:]
        )
    total = jnp.reshape(total, (len(x), space[0], len(weight), *space[1:]))
    return jnp.swapaxes(total, 1, 2)


def _windows(weight, space, strides, dilation):
    """For each tap of a kernel, the positions that it meets along each axis."""
    for tap in itertools.product(*map(range, weight.shape[2:])):
        yield tuple(
            slice(t * d, t * d + (size - 1) * s + 1, s)
            for t, d, size, s in zip(tap, dilation, space, strides, strict=True)
        )


def _side_by_side(x, weight, space, strides, padding, dilation):
    """One wide image of all images of the batch, with zeros between that serve both neighbours.

    If that is not wide enough, each image is cut into bands of rows, which stand side by side too.
    """
    n, inputs, _, width = x.shape
    stride, (before, after) = strides[1], padding[1]
    block = max(width + max(before, after), space[1] * stride)
    block += -block % stride
    wide = min(_WIDE, _HEAVY // (len(weight) * inputs)) * stride
    bands = max(1, min(-(-wide // (n * block)), space[0] // 4))
    rows = -(-space[0] // bands)
    height = (rows - 1) * strides[0] + dilation[0] * (weight.shape[2] - 1) + 1
    starts = [band * rows * strides[0] for band in range(bands)]
    x = jnp.transpose(x, (2, 0, 3, 1))
    below = max(padding[0][1], starts[-1] + height - len(x) - padding[0][0])
    x = jnp.pad(x, ((padding[0][0], below), (0, 0), (before, block - before - width), (0, 0)))
    x = jnp.concatenate([x[start : start + height] for start in starts], axis=1)
    reach = dilation[1] * (weight.shape[3] - 1)
    out = lax.conv_general_dilated(
        jnp.reshape(x, (height, bands * n * block, inputs))[None],
        weight,
        strides,
        [(0, 0), (0, max(reach - stride + 1, 0))],
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
    )
    out = jnp.reshape(out, (rows, bands, n, block // stride, -1))
    out = jnp.reshape(jnp.swapaxes(out, 0, 1), (bands * rows, n, block // stride, -1))
    return jnp.transpose(out[: space[0], :, : space[1]], (1, 3, 0, 2))
