"""Patches of images: at random places, or on a grid."""

import math
import operator

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from .._core import as_inexact, public

Input = Array | np.ndarray
Images = Num[Input, "n pixels"] | Num[Input, "n h w"] | Num[Input, "n h w channels"]
Pair = tuple[int, int] | list[int]


@public
def generate_patch_set(
    x_batch_: Images,
    patch_size: Pair = (8, 8),
    max_patches: int | None = 50,
    center: bool = True,
    *,
    key: PRNGKeyArray | None = None,
) -> Float[Array, "patches values"]:
    """Patches of each image at random places, drawn with replacement; one flattened patch a row.

    **Arguments:**

    - `x_batch_`: images `(n, h, w)` or `(n, h, w, channels)`, or flattened square ones `(n, h * h)`.
    - `patch_size`: height and width.
    - `max_patches`: patches per image, at most the number of places there are. `None` takes each
        place once, in raster order, as `patch_grid` with stride 1 does.
    - `center`: subtract from each patch its own mean (over all channels).
    - `key`: a random key; not needed where nothing is random (`max_patches=None`, or a patch as
        large as the image).

    **Returns:** the patches of the first image, then of the second, ...; pixels row by row, channels
    last.

    Integer images become floats.

    **Raises:** `ValueError` for a patch that is not a pair or larger than the image, flattened
    images that are not square, `max_patches` below 1, and a missing key.

    >>> images = jnp.arange(32.0).reshape(2, 4, 4)
    >>> generate_patch_set(images, (2, 2), 3, key=jr.key(0)).shape
    (6, 4)
    """
    images = _as_images("x_batch_", as_inexact(x_batch_))
    patch_size = _pair("patch_size", patch_size)
    places = _places(images, patch_size, (1, 1))
    if max_patches is not None and len(places) > 1:
        if max_patches < 1:
            raise ValueError(f"`max_patches` must be at least 1, or None; got {max_patches}.")
        if key is None:
            raise ValueError(
                "Random places need `key=`, such as `key=jax.random.key(0)`; or take each place "
                "once with `max_patches=None`."
            )
        shape = (len(images), min(max_patches, len(places)))
        chosen = places[jr.randint(key, shape, 0, len(places))]
    else:
        chosen = jnp.broadcast_to(places, (len(images), *places.shape))
    return _cut(images, chosen, patch_size, center)


@public
def patch_grid(
    images: Images,
    patch_size: Pair = (8, 8),
    stride: Pair | None = None,
    center: bool = False,
) -> Float[Array, "patches values"]:
    """Patches on a regular grid, in raster order; one flattened patch a row.

    **Arguments:** as `generate_patch_set`; and `stride`, the steps down and across, by default the
    patch size, so that patches tile the image. Where they do not fit, the rest at the bottom and on
    the right is in no patch.

    **Raises:** `ValueError` as `generate_patch_set`, and for a stride below 1.

    >>> patch_grid(jnp.arange(16.0).reshape(1, 4, 4), (2, 2))
    Array([[ 0.,  1.,  4.,  5.],
           [ 2.,  3.,  6.,  7.],
           [ 8.,  9., 12., 13.],
           [10., 11., 14., 15.]], dtype=float32)
    """
    images = _as_images("images", as_inexact(images))
    patch_size = _pair("patch_size", patch_size)
    stride = patch_size if stride is None else _pair("stride", stride)
    if min(stride) < 1:
        raise ValueError(f"`stride` must be at least 1 down and across; got {stride}.")
    places = _places(images, patch_size, stride)
    chosen = jnp.broadcast_to(places, (len(images), *places.shape))
    return _cut(images, chosen, patch_size, center)


def _as_images(name: str, x: Array) -> Float[Array, "n h w channels"]:
    if x.ndim == 2:
        side = math.isqrt(x.shape[1])
        if side * side != x.shape[1]:
            raise ValueError(
                f"`{name}`: flattened images must be square; {x.shape[1]} pixels are "
                "not. Pass images of shape (n, h, w)."
            )
        return x.reshape(len(x), side, side, 1)
    if x.ndim == 3:
        return x[..., None]
    if x.ndim == 4:
        return x
    raise ValueError(
        f"`{name}` must have shape (n, h * h), (n, h, w) or (n, h, w, channels); got {x.shape}."
    )


def _pair(name: str, value: Pair) -> tuple[int, int]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"`{name}` must be a pair, down and across; got {value!r}.")
    return operator.index(value[0]), operator.index(value[1])


def _places(
    images: Array, patch_size: tuple[int, int], stride: tuple[int, int]
) -> Int[Array, "places 2"]:
    """The upper left corners of all patches that fit, row by row."""
    spare = [side - patch for side, patch in zip(images.shape[1:3], patch_size, strict=True)]
    if min(spare) < 0 or min(patch_size) < 1:
        raise ValueError(
            f"A patch must fit into the image of {images.shape[1]} x {images.shape[2]} pixels; got "
            f"{patch_size[0]} x {patch_size[1]}."
        )
    down, across = (jnp.arange(0, room + 1, step) for room, step in zip(spare, stride, strict=True))
    return jnp.stack(jnp.meshgrid(down, across, indexing="ij"), axis=-1).reshape(-1, 2)


def _cut(
    images: Array, corners: Int[Array, "n places 2"], patch_size: tuple[int, int], center: bool
) -> Float[Array, "patches values"]:
    size = (*patch_size, images.shape[3])

    def patch(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), size)

    patches = jax.vmap(jax.vmap(patch, (None, 0)))(images, corners)
    rows = patches.reshape(-1, math.prod(size))
    return rows - jnp.mean(rows, axis=1, keepdims=True) if center else rows
