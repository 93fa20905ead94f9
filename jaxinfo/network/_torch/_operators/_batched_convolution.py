"""Two-dimensional convolutions of a batch, in the form that XLA computes fastest on a CPU.

The plain form has two slow spots there. XLA shares the columns of an image among threads, but never
its rows nor the images of a batch, so that a batch of small images keeps one core busy. And it
transposes the kernels at every call, which in the deep layers of a network, many kernels on a few
positions, takes longer than the convolution. On other platforms nothing changes.
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


def convolve(
    x: Array,
    weight: Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    plain: Callable[[Array, Array], Array],
) -> Array:
    """What `plain(x, weight)` computes, from `(n, c, h, w)` and `(o, c, kh, kw)` without groups."""
    space = [
        (size + before + after - d * (k - 1) - 1) // s + 1
        for size, (before, after), k, s, d in zip(
            x.shape[2:], padding, weight.shape[2:], strides, dilation, strict=True
        )
    ]
    positions, taps = len(x) * math.prod(space), math.prod(weight.shape[2:])
    light = taps == 1 or (taps <= 16 and x.shape[1] <= 4)  # the patches are nearly the input
    if x.dtype.itemsize < 4:
        return plain(x, weight)
    if positions <= len(weight) and weight.size >= _LARGE:
        form = _kernels_times_patches
    elif positions * weight.size < (_MANY // 4 if light else _MANY):
        return plain(x, weight)
    elif light:
        form = _patches_times_kernels
    elif weight.size < _LARGE:
        form = _side_by_side
    else:
        return plain(x, weight)

    def arranged(x: Array, weight: Array) -> Array:
        return form(x, weight, space, strides, padding, dilation)

    return lax.platform_dependent(x, weight, cpu=arranged, default=plain)


def _kernels_times_patches(x, weight, space, strides, padding, dilation):
    """Many kernels, left as they lie in memory, and the smaller matrix of all patches."""
    x = jnp.pad(jnp.swapaxes(x, 0, 1), ((0, 0), (0, 0), *padding))
    windows = _windows(weight, space, strides, dilation)
    patches = jnp.stack([x[:, :, rows, columns] for rows, columns in windows], axis=1)
    out = jnp.reshape(weight, (len(weight), -1)) @ jnp.reshape(patches, (weight[0].size, -1))
    return jnp.swapaxes(jnp.reshape(out, (len(weight), -1, *space)), 0, 1)


def _patches_times_kernels(x, weight, space, strides, padding, dilation):
    """One product for single taps, and for input channels too few to be an inner loop by tap."""
    x = jnp.transpose(x, (2, 0, 3, 1))
    x = jnp.pad(x, (padding[0], (0, 0), padding[1], (0, 0)))
    windows = _windows(weight, space, strides, dilation)
    patches = jnp.concatenate([x[rows, :, columns] for rows, columns in windows], axis=-1)
    kernels = jnp.reshape(jnp.transpose(weight, (2, 3, 1, 0)), (-1, len(weight)))
    out = jnp.reshape(patches, (-1, len(kernels))) @ kernels
    return jnp.transpose(jnp.reshape(out, (space[0], -1, space[1], len(weight))), (1, 3, 0, 2))


def _windows(weight, space, strides, dilation):
    """For each tap of a kernel, the rows and the columns that it meets."""
    for tap in itertools.product(*map(range, weight.shape[2:])):
        yield tuple(
            slice(t * d, t * d + (size - 1) * s + 1, s)
            for t, d, size, s in zip(tap, dilation, space, strides, strict=True)
        )


def _side_by_side(x, weight, space, strides, padding, dilation):
    """One wide image of all images of the batch, with zeros between that serve both neighbours.

    A stride leaves few columns to share; then the lower half of each image stands beside the upper.
    """
    n, inputs, _, width = x.shape
    halves = 1 if max(strides) == 1 else 2
    rows = -(-space[0] // halves)
    height = (rows - 1) * strides[0] + dilation[0] * (weight.shape[2] - 1) + 1
    starts = [half * rows * strides[0] for half in range(halves)]
    stride, (before, after) = strides[1], padding[1]
    block = max(width + max(before, after), space[1] * stride)
    block += -block % stride
    x = jnp.transpose(x, (2, 0, 3, 1))
    below = max(padding[0][1], starts[-1] + height - len(x) - padding[0][0])
    x = jnp.pad(x, ((padding[0][0], below), (0, 0), (before, block - before - width), (0, 0)))
    x = jnp.concatenate([x[start : start + height] for start in starts], axis=1)
    reach = dilation[1] * (weight.shape[3] - 1)
    out = lax.conv_general_dilated(
        jnp.reshape(x, (height, halves * n * block, inputs))[None],
        weight,
        strides,
        [(0, 0), (0, max(reach - stride + 1, 0))],
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
    )
    out = jnp.reshape(out, (rows, halves, n, block // stride, -1))
    out = jnp.reshape(jnp.swapaxes(out, 0, 1), (halves * rows, n, block // stride, -1))
    return jnp.transpose(out[: space[0], :, : space[1]], (1, 3, 0, 2))
