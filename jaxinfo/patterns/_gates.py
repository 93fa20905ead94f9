"""Gate vectors drawn at random: dense, sparse in the features, or local in an image."""

import itertools
import math
from collections.abc import Sequence

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._core import Natural, Positive, one_of, public, sizes

_KNOWN_IMAGES = {784: (1, 28, 28), 3072: (3, 32, 32)}  # MNIST and CIFAR
_MOST_GROUPS = 2**22  # of features, each a list


@public
def sample_gate_vectors(
    key: PRNGKeyArray,
    d: Natural,
    n_samples: Natural,
    gate_type: str = "dense",
    order: Positive | None = None,
) -> Float[Array, "d m"]:
    """Draw gate vectors, one a column.

    **Arguments:**

    - `key`: a key; the same key gives the same gates.
    - `d`: the dimension of a gate.
    - `n_samples`: how many gates.
    - `gate_type`: `"dense"`, `"feature_sparse"` (non-zero on one group of at most `order` features;
        `m` is then rounded up to a multiple of the number of groups, see `sample_sparse_gates`) or
        `"convolutional"` (see `sample_convolutional_gates`).
    - `order`: the largest group of features, for `"feature_sparse"` alone.

    **Raises:** `ValueError` for another `gate_type`, for `"feature_sparse"` without `order`, or an
    `order` below 1.

    >>> import jax
    >>> sample_gate_vectors(jax.random.key(0), 4, 10, "feature_sparse", order=2).shape
    (4, 10)
    """
    one_of("gate_type", gate_type, ("dense", "feature_sparse", "convolutional"))
    if gate_type == "dense":
        return sample_dense_gates(key, d, n_samples)
    if gate_type == "convolutional":
        return sample_convolutional_gates(key, d, n_samples)
    if order is None:
        raise ValueError(
            "`gate_type='feature_sparse'` needs `order`, the largest group of features."
        )
    return sample_sparse_gates(key, d, n_samples, generate_index_lists(d, order))


@public
def sample_dense_gates(key: PRNGKeyArray, d: Natural, n_samples: Natural) -> Float[Array, "d m"]:
    """Independent standard normal gates: directions uniform on the sphere.

    >>> import jax
    >>> sample_dense_gates(jax.random.key(0), 5, 7).shape
    (5, 7)
    """
    return jr.normal(key, sizes(d=d, n_samples=n_samples))


@public
def sample_sparse_gates(
    key: PRNGKeyArray,
    d: Natural,
    n_samples: Natural,
    sparsity_indices: Sequence[Sequence[int]],
) -> Float[Array, "d m"]:
    """Gates that are normal on one group of features and 0 elsewhere.

    Each of the `L` groups in `sparsity_indices` gets `ceil(n_samples / L)` gates, side by side in the
    order of the groups; so there are `m = L * ceil(n_samples / L)` gates, possibly more than
    `n_samples`.

    **Raises:** `ValueError` if there are no groups, or an index is not one of `0 ... d - 1`.

    >>> import jax
    >>> G = sample_sparse_gates(jax.random.key(0), 3, 3, [[0], [1, 2]])
    >>> (G != 0).astype(int)
    Array([[1, 1, 0, 0],
           [0, 0, 1, 1],
           [0, 0, 1, 1]], dtype=int32)
    """
    if len(sparsity_indices) == 0:
        raise ValueError(
            "`sparsity_indices` must hold at least one group of features; it is empty."
        )
    repeats = math.ceil(n_samples / len(sparsity_indices))
    sizes(d=d, n_samples=repeats * len(sparsity_indices))
    mask = np.zeros((d, len(sparsity_indices)), bool)
    for column, indices in enumerate(sparsity_indices):
        indices = np.asarray(indices, dtype=int)
        if np.any((indices < 0) | (indices >= d)):
            raise ValueError(
                f"`sparsity_indices` must lie in 0 ... {d - 1}; group {column} is {indices.tolist()}."
            )
        mask[indices, column] = True
    mask = np.repeat(mask, repeats, axis=1)
    return jnp.where(mask, sample_dense_gates(key, d, mask.shape[1]), 0)


@public
def sample_convolutional_gates(
    key: PRNGKeyArray,
    d: Natural,
    n_samples: Natural,
    *,
    image_shape: tuple[int, ...] | None = None,
    kernel_size: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
) -> Float[Array, "d m"]:
    """Gates that are normal on one patch of an image, in all its channels, and 0 elsewhere.

    What one position of a convolution without padding sees. Images are flattened channel by channel,
    each row by row (`channel * height * width + row * width + column`). The patch of each gate is
    drawn uniformly from all that fit, the corners being multiples of `stride`.

    **Arguments:**

    - `image_shape`: `(channels, height, width)`, or `(height, width)` where the channels follow from
        `d`. By default (1, 28, 28) for `d=784` and (3, 32, 32) for `d=3072`.
    - `kernel_size`, `stride`: one number, or one for rows and one for columns.

    **Raises:** `ValueError` if the shape does not multiply to `d`, is not given for another `d`, or
    the kernel is larger than the image.

    >>> import jax
    >>> G = sample_convolutional_gates(jax.random.key(0), 784, 2)
    >>> (G != 0).sum(axis=0)
    Array([9, 9], dtype=int32)
    """
    shape = _image_shape(d, image_shape)
    size = shape[1:]
    sizes(d=d, n_samples=n_samples)
    kernel, stride = _pair("kernel_size", kernel_size), _pair("stride", stride)
    if any(k > s for k, s in zip(kernel, size, strict=True)):
        raise ValueError(f"`kernel_size` {kernel} is larger than the image, {size}.")
    gates_key, *corner_keys = jr.split(key, 3)
    corners = [
        step * jr.randint(corner_key, (n_samples,), 0, (side - k) // step + 1)
        for corner_key, side, k, step in zip(corner_keys, size, kernel, stride, strict=True)
    ]
    mask = patch_mask(jnp.stack(corners, axis=1), shape, kernel)
    return jnp.where(mask, sample_dense_gates(gates_key, d, n_samples), 0)


def patch_mask(
    corners: Int[Array, "m 2"], image_shape: tuple[int, int, int], kernel: tuple[int, int]
) -> Bool[Array, "d m"]:
    """Which entries of a flattened image lie in the patch with each upper left corner."""
    channels, *size = image_shape
    inside = [
        (jnp.arange(side)[:, None] >= corner) & (jnp.arange(side)[:, None] < corner + k)
        for side, k, corner in zip(size, kernel, corners.T, strict=True)
    ]
    patch = (inside[0][:, None] & inside[1][None]).reshape(math.prod(size), -1)
    return jnp.tile(patch, (channels, 1))


@public
def generate_index_lists(d: Natural, order: Positive) -> list[list[int]]:
    """All groups of 1 to `order` of the indices `0 ... d - 1`, by size, then in lexicographic order.

    **Raises:** `ValueError` for an `order` below 1, or more than 2^22 groups.

    >>> generate_index_lists(3, 2)
    [[0], [1], [2], [0, 1], [0, 2], [1, 2]]
    """
    count = 0
    for size in range(1, min(order, d) + 1):
        if (count := count + math.comb(d, size)) > _MOST_GROUPS:
            raise ValueError(
                f"`d` and `order` must give at most {_MOST_GROUPS} groups; d={d} has {count} of up "
                f"to {size} features. Take a smaller `order`."
            )
    groups = (itertools.combinations(range(d), size) for size in range(1, min(order, d) + 1))
    return [list(group) for group in itertools.chain.from_iterable(groups)]


def _image_shape(d: int, image_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
    if image_shape is None:
        if d not in _KNOWN_IMAGES:
            raise ValueError(
                f"The image shape of d={d} is unknown (784 and 3072 are known). Pass "
                "`image_shape=(channels, height, width)` to `sample_convolutional_gates`."
            )
        return _KNOWN_IMAGES[d]
    if len(image_shape) == 2:
        image_shape = (d // max(1, math.prod(image_shape)), *image_shape)
    if len(image_shape) != 3 or math.prod(image_shape) != d or min(image_shape) < 1:
        raise ValueError(
            "`image_shape` must be (height, width) or (channels, height, width) with a product of "
            f"d={d}; got {image_shape}."
        )
    channels, height, width = image_shape
    return channels, height, width


def _pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else value
    if min(rows, columns) < 1:
        raise ValueError(f"`{name}` must be at least 1; got {value}.")
    return rows, columns
