"""Reading an image between its pixels, at the points of a grid in [-1, 1].

torch takes the two-dimensional case apart itself.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from .._table import torch_operator

_BILINEAR, _NEAREST = 0, 1
_ZEROS, _BORDER, _REFLECTION = 0, 1, 2


@torch_operator("aten.grid_sampler_3d.default")
def grid_sampler_3d(x, grid, interpolation, padding, align_corners):
    """`x` of shape (n, c, depth, height, width); points of `grid` name the last axis first."""
    space = x.shape[2:]
    at = [
        _positions(grid[..., -1 - axis], size, padding, align_corners)
        for axis, size in enumerate(space)
    ]
    if interpolation == _NEAREST:
        return _read(x, [jnp.round(a) for a in at])
    # The corners of the cell around each point, along an axis after the first.
    corners = np.array(list(itertools.product((0, 1), repeat=len(space))))
    at = [jnp.expand_dims(a, 1) for a in at]
    near = [
        jnp.floor(a) + np.reshape(steps, (-1, *[1] * len(space)))
        for a, steps in zip(at, corners.T, strict=True)
    ]
    weight = math.prod(1 - jnp.abs(a - b) for a, b in zip(at, near, strict=True))
    return jnp.sum(_read(x, near) * jnp.expand_dims(weight, 1), axis=2)


def _positions(at, size, padding, align_corners):
    """From [-1, 1] to pixels; -1 and 1 are the centres of the outer pixels, or their outer edges."""
    at = (at + 1) / 2 * (size - 1) if align_corners else ((at + 1) * size - 1) / 2
    if padding == _ZEROS:
        return at
    if padding == _REFLECTION:
        edge, span = (0.0, size - 1) if align_corners else (-0.5, size)
        # Back and forth between the edges, with a period of twice their distance.
        turn = jnp.abs(at - edge) % (2 * span) if span else jnp.zeros_like(at)
        at = edge + jnp.minimum(turn, 2 * span - turn)
    return jnp.clip(at, 0, size - 1)


def _read(x, at):
    """Pixels at whole positions, 0 outside of the image."""
    sizes = x.shape[2:]
    inside = math.prod((a >= 0) & (a < size) for a, size in zip(at, sizes, strict=True))
    places = [jnp.clip(a, 0, n - 1).astype(int) for a, n in zip(at, sizes, strict=True)]
    pixels = jax.vmap(lambda image, *place: image[(slice(None), *place)])(x, *places)
    return jnp.where(jnp.expand_dims(inside, 1).astype(bool), pixels, 0)
