"""On how many examples two patterns differ."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .._core import public
from ._packed import PackedPatterns


@public
@jax.jit
def hamming_distances(a: PackedPatterns, b: PackedPatterns) -> Int[Array, "p q"]:
    r"""The number of examples on which each pattern of `a` differs from each of `b`.

    $$h_{jk} = \sum_i |a_{ij} - b_{ik}|$$

    **Raises:** `ValueError` if the two are not patterns on the same number of examples.

    **Cost:** an exclusive or and a count of bits for each pair of words; memory: the result.

    >>> import jax.numpy as jnp
    >>> patterns = PackedPatterns.pack(jnp.array([[1, 0, 1], [0, 0, 1], [1, 1, 1]]))
    >>> hamming_distances(patterns, patterns)
    Array([[0, 1, 1],
           [1, 0, 2],
           [1, 2, 0]], dtype=int32)
    """
    _require_same_examples(a, b)
    return jax.lax.map(lambda words: _distances_to(words, b), a.words)


@public
@jax.jit
def nearest_patterns(
    queries: PackedPatterns, patterns: PackedPatterns
) -> tuple[Int[Array, " q"], Int[Array, " q"]]:
    """For each query the number of the nearest pattern in Hamming distance, and that distance.

    The first one where several are equally near. The matrix of distances is never in memory.

    **Raises:** `ValueError` if there are no patterns, or on another number of examples.

    >>> import jax.numpy as jnp
    >>> patterns = PackedPatterns.pack(jnp.array([[1, 0], [0, 0], [1, 0]]))
    >>> nearest_patterns(PackedPatterns.pack(jnp.array([[1], [1], [1]])), patterns)
    (Array([0], dtype=int32), Array([1], dtype=int32))
    """
    _require_same_examples(queries, patterns)
    if patterns.p == 0:
        raise ValueError("`patterns` is empty: there is no nearest one.")

    def nearest(words: Array) -> tuple[Array, Array]:
        distances = _distances_to(words, patterns)
        index = jnp.argmin(distances).astype(jnp.int32)
        return index, distances[index]

    return jax.lax.map(nearest, queries.words)


def _distances_to(words: Array, patterns: PackedPatterns) -> Int[Array, " p"]:
    differing = jax.lax.population_count(words ^ patterns.words)
    return jnp.sum(differing, axis=1, dtype=jnp.int32)


def _require_same_examples(a: PackedPatterns, b: PackedPatterns) -> None:
    if a.n != b.n:
        raise ValueError(f"Patterns on {a.n} and on {b.n} examples cannot be compared.")
