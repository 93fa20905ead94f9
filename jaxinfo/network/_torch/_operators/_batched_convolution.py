"""Two-dimensional convolutions of a batch, in the form that XLA computes fastest on a CPU.

XLA's CPU kernel shares the columns of an image among threads, never its rows nor the images of a
batch, so that a batch of small images keeps one core busy; and it falls back to plain loops for a
kernel that is larger than the image. The same numbers come faster from an arrangement of the batch
that suits the kernel. On other platforms nothing changes.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

# The products that one core forms in about a tenth of a millisecond: below, arranging costs more.
_MANY = 1 << 24


def convolve(
    x: Array,
    weight: Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    plain: Callable[[Array, Array], Array],
) -> Array:
    """What `plain(x, weight)` computes: `(n, c, h, w)` with `(o, c, kh, kw)`, without groups."""
    n, inputs, *sizes = x.shape
    space = [
        (size + before + after - d * (k - 1) - 1) // s + 1
        for size, (before, after), k, s, d in zip(
            sizes, padding, weight.shape[2:], strides, dilation, strict=True
        )
    ]
    products = n * math.prod(space) * weight.size
    larger = any(d * (k - 1) >= size for size, k, d in zip(sizes, weight.shape[2:], dilation))
    if inputs <= 4 or larger:
        arranged = _as_product
    elif weight.size < 1 << 17:
        arranged = _side_by_side
    else:
        return plain(x, weight)
    if products < (_MANY if arranged is _side_by_side else _MANY >> 2):
        return plain(x, weight)

    def fast(x: Array, weight: Array) -> Array:
        return arranged(x, weight, space, strides, padding, dilation)

    return lax.platform_dependent(x, weight, cpu=fast, default=plain)


def _side_by_side(x, weight, space, strides, padding, dilation):
    """One wide image of all images of the batch, with zeros between that serve both neighbours."""
    n, inputs, _, width = x.shape
    stride, (before, after) = strides[1], padding[1]
    reach = dilation[1] * (weight.shape[3] - 1)
    block = width + max(before, after)
    block += -block % stride
    x = jnp.transpose(x, (2, 0, 3, 1))
    x = jnp.pad(x, (padding[0], (0, 0), (before, block - before - width), (0, 0)))
    out = lax.conv_general_dilated(
        jnp.reshape(x, (1, x.shape[0], n * block, inputs)),
        weight,
        strides,
        [(0, 0), (0, max(reach - stride + 1, 0))],
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
    )
    out = jnp.reshape(out, (space[0], n, block // stride, -1))[:, :, : space[1]]
    return jnp.transpose(out, (1, 3, 0, 2))


def _as_product(x, weight, space, strides, padding, dilation):
    """The matrix of all patches times the matrix of all kernels, where the former is small."""
    n = len(x)
    x = jnp.pad(jnp.transpose(x, (2, 0, 3, 1)), (padding[0], (0, 0), padding[1], (0, 0)))
    taps = []
    for tap in itertools.product(*map(range, weight.shape[2:])):
        rows, columns = (
            slice(t * d, t * d + (size - 1) * s + 1, s)
            for t, d, size, s in zip(tap, dilation, space, strides, strict=True)
        )
        taps.append(x[rows, :, columns])
    patches = jnp.reshape(jnp.concatenate(taps, -1), (space[0] * n * space[1], -1))
    kernels = jnp.reshape(jnp.transpose(weight, (2, 3, 1, 0)), (-1, len(weight)))
    out = jnp.reshape(patches @ kernels, (space[0], n, space[1], -1))
    return jnp.transpose(out, (1, 3, 0, 2))
