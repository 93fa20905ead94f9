"""Toy problems for recurrent and generic models, and permuted MNIST from files.

The sequence tasks ask for a relation between two marked values that may lie far apart. They take a
key, run under `jit` (sizes are static), and write nothing.

**Source:** neuromancer.slim, after Hochreiter and Schmidhuber (1997), *Long short-term memory*, and
Martens and Sutskever (2011), *Learning recurrent neural networks with Hessian-free optimization*.
"""

import gzip
import math
import pathlib
import struct
from collections.abc import Callable

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact, Int, PRNGKeyArray

from .._core import FileFormatError, as_real, at_unit_size, path_of, reading

Split = tuple[Float[Array, "_ pixels"], Int[Array, " _"], Int[Array, " _"]]


def gen_masked_sequences(
    key: PRNGKeyArray,
    T: int,
    n_sequences: int,
    sample: Callable[[PRNGKeyArray, tuple[int, ...]], Array] = jr.uniform,
) -> Float[Array, "n_sequences T 2"]:
    """Sequences of two channels: values, and a mask that is 1 at two different steps, else 0.

    The first marked step is uniform among all but the last; so is the second, moved on by one if it
    falls on the first.

    **Arguments:**

    - `T`: length, at least 2.
    - `n_sequences`: how many.
    - `sample`: draws the values, as `sample(key, shape)`; by default uniform in [0, 1).

    **Raises:** `ValueError` if `T < 2`.

    >>> import jax
    >>> X = gen_masked_sequences(jax.random.key(0), 6, 4)
    >>> X.shape, X[..., 1].sum(axis=1).tolist()
    ((4, 6, 2), [2.0, 2.0, 2.0, 2.0])
    """
    if T < 2:
        raise ValueError(f"Two different steps need a length `T` of at least 2; got {T}.")
    value_key, first_key, second_key = jr.split(key, 3)
    values = jnp.asarray(sample(value_key, (n_sequences, T)), jnp.result_type(float))
    first = jr.randint(first_key, (n_sequences,), 0, T - 1)
    second = jr.randint(second_key, (n_sequences,), 0, T - 1)
    second = jnp.where(second == first, second + 1, second)
    steps = jnp.arange(T)
    marked = (steps == first[:, None]) | (steps == second[:, None])
    return jnp.stack([values, marked.astype(values.dtype)], axis=-1)


def add(
    key: PRNGKeyArray, T: int, n_sequences: int
) -> tuple[Float[Array, "n_sequences T 2"], Float[Array, " n_sequences"]]:
    """The adding problem: `(X, y)` with `y` the sum of the two marked values, each in [0, 1).

    Answering 1 whatever the input has a mean squared error of 1/6.

    >>> import jax
    >>> X, y = add(jax.random.key(0), 5, 3)
    >>> bool(abs(y - (X[..., 0] * X[..., 1]).sum(axis=1)).max() < 1e-6)
    True
    """
    X = gen_masked_sequences(key, T, n_sequences)
    return X, jnp.sum(X[..., 0] * X[..., 1], axis=1)


def multiply(
    key: PRNGKeyArray, T: int, n_sequences: int
) -> tuple[Float[Array, "n_sequences T 2"], Float[Array, " n_sequences"]]:
    """The multiplying problem: `(X, y)` with `y` the product of the two marked values.

    >>> import jax
    >>> X, y = multiply(jax.random.key(0), 5, 3)
    >>> bool((y > 0).all())
    True
    """
    X = gen_masked_sequences(key, T, n_sequences)
    return X, jnp.prod(jnp.where(X[..., 1] == 1, X[..., 0], 1), axis=1)


def xor(
    key: PRNGKeyArray, T: int, n_sequences: int
) -> tuple[Float[Array, "n_sequences T 2"], Bool[Array, " n_sequences"]]:
    """The XOR problem: values are bits, and `y` tells whether the two marked ones differ.

    >>> import jax
    >>> X, y = xor(jax.random.key(0), 5, 3)
    >>> bool(((X[..., 0] * X[..., 1]).sum(axis=1) == 1).tolist() == y.tolist())
    True
    """
    X = gen_masked_sequences(key, T, n_sequences, lambda k, shape: jr.bernoulli(k, shape=shape))
    return X, jnp.sum(X[..., 0] * X[..., 1], axis=1) == 1


def ackley_function(x: Inexact[ArrayLike, "*batch dim"]) -> Float[Array, "*batch"]:
    r"""Ackley's function: many local minima around a global one, 0 at 0.

    $$f(x) = 20 + e - 20 \exp\Big(-0.2 \sqrt{\tfrac1d \textstyle\sum_i x_i^2}\Big)
    - \exp\Big(\tfrac1d \textstyle\sum_i \cos 2 \pi x_i\Big)$$

    The function has a cone at 0; the gradient there is taken as 0.

    **Reference:** Ackley (1987), *A connectionist machine for genetic hillclimbing*.

    >>> import jax.numpy as jnp
    >>> [f"{y:.3f}" for y in ackley_function(jnp.array([[1.0, 1.0], [3.0, -3.0]]))]
    ['3.625', '9.024']
    """
    x = as_real(x)
    root = at_unit_size(_root_of_mean_square, x, -1)[..., 0]
    waves = jnp.mean(jnp.cos(2 * math.pi * x), axis=-1)
    # 20 - 20 exp(-r/5) and e - exp(w), each without cancellation near the minimum.
    return -20 * jnp.expm1(-0.2 * root) - math.e * jnp.expm1(waves - 1)


def _root_of_mean_square(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch 1"]:
    square = jnp.mean(x**2, axis=-1, keepdims=True)
    some = square != 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1)), 0)


def ackley(
    key: PRNGKeyArray, nsamples: int, dim: int = 2
) -> tuple[Float[Array, "nsamples dim"], Float[Array, " nsamples"]]:
    """`(X, y)`: points uniform in [-40, 40]^dim, and Ackley's function there.

    >>> import jax
    >>> X, y = ackley(jax.random.key(0), 100)
    >>> X.shape, bool((y >= 0).all())
    ((100, 2), True)
    """
    X = jr.uniform(key, (nsamples, dim), minval=-40.0, maxval=40.0)
    return X, ackley_function(X)


def load_pMNIST_data(
    key: PRNGKeyArray, data_path: str | pathlib.Path, perm: bool = False
) -> tuple[Split, Split, Split]:
    """MNIST as sequences of pixels, from the four IDX files in a folder: train, validation, test.

    Each part is `(X, y, lengths)`: pixels divided by 256 in rows, labels, and the length of each
    sequence (784). The training file is shuffled and split once, eleven twelfths for training (55
    000) and the rest for validation (5000), so the parts do not overlap. The key decides the shuffle
    and the permutation; the same key gives the same data. Nothing is downloaded or written.

    **Arguments:**

    - `data_path`: folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
        `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`, each plain or with `.gz`, and with a dot
        (`images.idx3`) or a hyphen.
    - `perm`: put the pixels of all images in one random order.

    **Raises:** `FileNotFoundError` naming the file that is missing; `ValueError` naming a file that
    is not in IDX format or is damaged, or images and labels of different number.
    """
    folder = path_of("data_path", data_path)
    images, labels = _images_and_labels(folder, "train")
    test_images, test_labels = _images_and_labels(folder, "t10k")
    if images.shape[1] != test_images.shape[1]:
        raise ValueError(
            f"The images in {str(folder)!r} should be of one size; those for training have "
            f"{images.shape[1]} pixels and those for the test {test_images.shape[1]}."
        )
    shuffle_key, pixel_key = jr.split(key)
    order = np.asarray(jr.permutation(shuffle_key, len(images)))
    n_train = len(images) * 11 // 12
    pixels = np.arange(images.shape[1])
    if perm:
        pixels = np.asarray(jr.permutation(pixel_key, images.shape[1]))

    def part(images: np.ndarray, labels: np.ndarray) -> Split:
        X = jnp.asarray(images[:, pixels] / np.float32(256))
        return X, jnp.asarray(labels, jnp.int32), jnp.full(len(images), X.shape[1], jnp.int32)

    train, valid = order[:n_train], order[n_train:]
    return (
        part(images[train], labels[train]),
        part(images[valid], labels[valid]),
        part(test_images, test_labels),
    )


def _images_and_labels(folder: pathlib.Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    images_path, images = _read_idx(folder, f"{name}-images", 3)
    labels_path, labels = _read_idx(folder, f"{name}-labels", 1)
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{images_path.name} and {labels_path.name} should hold as many images as labels; got "
            f"arrays of shape {images.shape} and {labels.shape}."
        )
    return images.reshape(len(images), math.prod(images.shape[1:])), labels


def _read_idx(folder: pathlib.Path, name: str, ndim: int) -> tuple[pathlib.Path, np.ndarray]:
    """Path and array of unsigned bytes of an IDX file: a magic number, the shape, the bytes."""
    # Unpackers write the names with a dot.
    names = [f"{name}{dot}idx{ndim}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    path = next((folder / each for each in names if (folder / each).exists()), None)
    if path is None:
        raise FileNotFoundError(f"There is none of {', '.join(names)} in {str(folder)!r}.")
    with reading(path, "an IDX file"):
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        start = 4 + 4 * ndim
        if len(content) < start or content[:4] != bytes((0, 0, 8, ndim)):
            raise FileFormatError(f"not an IDX file of unsigned bytes along {ndim} axes.")
        shape = struct.unpack_from(f">{ndim}I", content, 4)
        if len(content) != start + math.prod(shape):
            raise FileFormatError(f"it should hold {shape} bytes, but its length does not fit.")
        return path, np.frombuffer(content, np.uint8, offset=start).reshape(shape)
