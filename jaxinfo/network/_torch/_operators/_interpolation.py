"""Interpolation: nearest, linear, cubic, with and without antialiasing, axis by axis.

Each output position is a weighted sum of a few input positions; both are known from the sizes.
"""

import functools

import jax.numpy as jnp
import numpy as np

from .._table import torch_operator


def _scale(size, out, factor, align_corners):
    """How far one step on the output is on the input."""
    if align_corners:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return 1 / factor if factor else size / out


def _nearest(size, out, factor, offset=0.0):
    # torch computes this scale in single precision, and the rounding shows.
    scale = np.float32(_scale(size, out, factor, False))
    at = np.floor((np.arange(out, dtype=np.float32) + np.float32(offset)) * scale)
    return np.clip(at.astype(int), 0, size - 1)[:, None], np.ones((out, 1))


def _linear(size, out, factor, align_corners):
    scale = _scale(size, out, factor, align_corners)
    steps = np.arange(out)
    at = steps * scale if align_corners else np.maximum((steps + 0.5) * scale - 0.5, 0)
    low = np.minimum(np.floor(at).astype(int), size - 1)
    fraction = at - low
    taps = np.stack([low, np.minimum(low + 1, size - 1)], axis=1)
    return taps, np.stack([1 - fraction, fraction], axis=1)


def _cubic_kernel(distance, a):
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _cubic(size, out, factor, align_corners):
    scale = _scale(size, out, factor, align_corners)
    steps = np.arange(out)
    at = steps * scale if align_corners else (steps + 0.5) * scale - 0.5
    taps = np.floor(at).astype(int)[:, None] + np.arange(-1, 3)
    return np.clip(taps, 0, size - 1), _cubic_kernel(at[:, None] - taps, -0.75)


def _antialiased(kernel, radius):
    def table(size, out, factor, align_corners):
        scale = _scale(size, out, factor, align_corners)
        width = max(scale, 1.0)
        centre = scale * (np.arange(out) + 0.5)
        start = np.maximum((centre - radius * width + 0.5).astype(int), 0)
        stop = np.minimum((centre + radius * width + 0.5).astype(int), size)
        taps = start[:, None] + np.arange(max(stop - start))
        weights = kernel((taps - centre[:, None] + 0.5) / width)
        weights = np.where(taps < stop[:, None], weights, 0)
        return np.clip(taps, 0, size - 1), weights / weights.sum(1, keepdims=True)

    return table


def _triangle(distance):
    return np.maximum(1 - np.abs(distance), 0)


def _apply(x, axis, taps, weights):
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.float32
    parts = (
        jnp.take(x, tap, axis=axis) * jnp.asarray(weight, dtype).reshape(shape)
        if np.any(weight != 1)
        else jnp.take(x, tap, axis=axis)
        for tap, weight in zip(taps.T, weights.T, strict=True)
    )
    return functools.reduce(jnp.add, parts)


def _upsample(table, n):
    """The operator for `n` axes, in the two forms that torch has."""

    def by_size(x, output_size, *options):
        *corners, factors = _options(options, n)
        for axis, out, factor in zip(range(x.ndim - n, x.ndim), output_size, factors, strict=True):
            x = _apply(x, axis, *table(x.shape[axis], out, factor, *corners))
        return x

    def by_size_or_factor(x, output_size, *options):
        *corners, factors = options
        if output_size is None:
            space = x.shape[x.ndim - n :]
            output_size = [int(size * f) for size, f in zip(space, factors, strict=True)]
        return by_size(x, output_size, *corners, *(factors or [None] * n))

    return by_size, by_size_or_factor


def _options(options, n):
    """`(align_corners,)` if the mode has it, and one factor or `None` for each axis."""
    has_corners = bool(options) and isinstance(options[0], bool)
    corners, factors = options[:has_corners], options[has_corners:]
    return *corners, [*factors, *[None] * (n - len(factors))]


_MODES = {
    "upsample_nearest{}d": (_nearest, (1, 2, 3)),
    "_upsample_nearest_exact{}d": (lambda *sizes: _nearest(*sizes, offset=0.5), (1, 2, 3)),
    "upsample_linear{}d": (_linear, (1,)),
    "upsample_bilinear{}d": (_linear, (2,)),
    "upsample_trilinear{}d": (_linear, (3,)),
    "upsample_bicubic{}d": (_cubic, (2,)),
    "_upsample_bilinear{}d_aa": (_antialiased(_triangle, 1), (2,)),
    "_upsample_bicubic{}d_aa": (_antialiased(lambda d: _cubic_kernel(d, -0.5), 2), (2,)),
}
for mode, (table, dims) in _MODES.items():
    for n in dims:
        by_size, by_size_or_factor = _upsample(table, n)
        torch_operator(f"aten.{mode.format(n)}.default")(by_size)
        torch_operator(f"aten.{mode.format(n)}.vec")(by_size_or_factor)
