"""Counting pairs of bin numbers, by the method that suits the platform.

The CPU wants one small table at a time that stays in its cache; a GPU or TPU wants one large matrix
product. Both are exact: sums of integers.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .._core import number_of_bin, undivided

_CHUNK = 8192  # rows per one-hot product: bounds the one-hot matrices, fills the matrix units


def count_pairs(
    x: Int[Array, "n n_in"], y: Int[Array, "n n_out"], in_bins: int, out_bins: int
) -> Int[Array, "n_in n_out in_bins out_bins"]:
    """How often bin `i` of column `a` of `x` meets bin `j` of column `b` of `y`.

    A number that is not a bin (negative, or `bins` and above) meets nothing. Exact in int32.
    """

    x, y = number_of_bin(x, in_bins), number_of_bin(y, out_bins)

    def counted(x: Array, y: Array) -> Array:
        return jax.lax.platform_dependent(
            x,
            y,
            cpu=lambda x, y: _by_scatter(x, y, in_bins, out_bins),
            default=lambda x, y: _by_product(x, y, in_bins, out_bins),
        )

    return undivided(counted, x, y)


def _by_scatter(x: Array, y: Array, in_bins: int, out_bins: int) -> Array:
    size = in_bins * out_bins
    # Whatever is not a bin is sent past the end of the table, where the scatter drops it. Unsigned,
    # so that no index is looked at once more for whether it counts from the end; and short where
    # the sum of two fits, since much of the time goes into reading and adding them.
    number = jnp.uint16 if 2 * size < 2**16 else jnp.uint32
    x = jnp.where(x < in_bins, x * out_bins, size).T.astype(number)
    y = jnp.where(y < out_bins, y, size).T.astype(number)

    def pair(a: Array, b: Array) -> Array:
        cell = (a + b).astype(jnp.uint32)
        return jnp.zeros(size, jnp.int32).at[cell].add(1, mode="drop")

    counts = jax.lax.map(lambda a: jax.lax.map(lambda b: pair(a, b), y), x)
    return counts.reshape(x.shape[0], y.shape[0], in_bins, out_bins)


def _by_product(x: Array, y: Array, in_bins: int, out_bins: int) -> Array:
    n, n_in = x.shape
    n_out = y.shape[1]
    chunk = min(n, _CHUNK)
    chunks = -(-n // chunk)
    # Padding rows are -1: not a bin.
    x = jnp.pad(x, ((0, chunks * chunk - n), (0, 0)), constant_values=-1)
    y = jnp.pad(y, ((0, chunks * chunk - n), (0, 0)), constant_values=-1)

    def add(counts: Array, xy: tuple[Array, Array]) -> tuple[Array, None]:
        a = jax.nn.one_hot(xy[0], in_bins, dtype=jnp.int8).reshape(chunk, n_in * in_bins)
        b = jax.nn.one_hot(xy[1], out_bins, dtype=jnp.int8).reshape(chunk, n_out * out_bins)
        return counts + jnp.matmul(a.T, b, preferred_element_type=jnp.int32), None

    zeros = jnp.zeros((n_in * in_bins, n_out * out_bins), jnp.int32)
    counts, _ = jax.lax.scan(
        add, zeros, (x.reshape(chunks, chunk, n_in), y.reshape(chunks, chunk, n_out))
    )
    return counts.reshape(n_in, in_bins, n_out, out_bins).transpose(0, 2, 1, 3)
