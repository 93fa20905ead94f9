"""Activation patterns as bits: 32 examples a word, and the one rule for what counts as active."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Real, Shaped, UInt32

from .._core import checked, is_traced, public, undivided

WORD = 32


def is_active(pre_activation: Float[Array, "..."], strict: bool) -> Bool[Array, "..."]:
    r"""$1(z \geq 0)$, the definition of a pattern, or $1(z > 0)$ when `strict`."""
    return pre_activation > 0 if strict else pre_activation >= 0


def words_for(n: int) -> int:
    """Words that hold `n` bits."""
    return -(-n // WORD)


@public
class PackedPatterns(eqx.Module):
    r"""The patterns of `p` neurons on `n` examples, one bit each: $d_{ij} = 1(x_i^\top g_j \geq 0)$.

    Example `i` is bit `i % 32` of word `i // 32`; bits past the last example are 0. So equal
    patterns are equal words, and a million examples by ten thousand neurons take 1.25 GB.

    **Fields:**

    - `words`: a row of `ceil(n / 32)` words for each neuron.
    - `n`: the number of examples.

    `patterns[index]` selects neurons, as in NumPy. Patterns are piecewise constant in data and gates:
    no gradient goes through them.

    >>> import jax.numpy as jnp
    >>> patterns = PackedPatterns.pack(jnp.array([[1, 0], [1, 1], [0, 0]]))
    >>> patterns.shape, patterns.words
    ((3, 2), Array([[3],
           [2]], dtype=uint32))
    >>> patterns.unpack(int)
    Array([[1, 0],
           [1, 1],
           [0, 0]], dtype=int32)
    """

    words: UInt32[Array, "p words"]
    n: int = eqx.field(static=True)

    def __check_init__(self):
        if self.words.shape[-1] != words_for(self.n):
            raise ValueError(
                f"`words` must hold {words_for(self.n)} words a row for n={self.n} examples; got "
                f"shape {self.words.shape}."
            )

    @classmethod
    @public
    def pack(cls, matrix: Shaped[Array | np.ndarray, "n p"]) -> "PackedPatterns":
        """Pack a matrix of 0 and 1 (or of booleans); anything but 0 counts as 1, NaN is refused."""
        matrix = jnp.asarray(matrix)
        matrix = checked(matrix, jnp.any(jnp.isnan(matrix)), "`matrix` holds NaN.") != 0
        if matrix.ndim != 2:
            raise ValueError(
                f"`matrix` must be a matrix, one pattern a column; got shape {matrix.shape}."
            )
        return cls(undivided(pack_rows, matrix).T, matrix.shape[0])

    @property
    def p(self) -> int:
        """The number of patterns."""
        return self.words.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """`(n, p)`, the shape of the matrix that `unpack` returns."""
        return self.n, self.p

    @public
    def unpack(self, dtype: jax.typing.DTypeLike = float) -> Shaped[Array, "n p"]:
        """The 0/1 matrix, one column a neuron; `unpack(bool)` takes a quarter of the memory."""
        return _unpacked(self.words, self.n, jax.dtypes.canonicalize_dtype(dtype))

    @property
    def T(self) -> "PackedPatterns":
        """The transpose: the code of each example over the neurons, 32 neurons a word."""
        return PackedPatterns(_transposed(self.words, self.n), self.p)

    def __getitem__(self, index: Any) -> "PackedPatterns":
        """Some of the patterns, by anything that NumPy takes as an index of one axis."""
        if not is_traced(index):
            index = np.atleast_1d(np.arange(self.p)[index])  # refuses what is out of range
        return PackedPatterns(self.words[index], self.n)

    @property
    def n_active(self) -> Int[Array, " p"]:
        """On how many examples each neuron is active."""
        return jnp.sum(jax.lax.population_count(self.words), axis=1, dtype=jnp.int32)

    @property
    def never_active(self) -> Bool[Array, " p"]:
        """The zero patterns: dead units, on these examples."""
        return self.n_active == 0

    @property
    def always_active(self) -> Bool[Array, " p"]:
        """The patterns of ones: units that are linear on these examples."""
        return self.n_active == self.n


@functools.partial(jax.jit, static_argnums=(1, 2))
def _unpacked(words: UInt32[Array, "p words"], n: int, dtype: np.dtype) -> Shaped[Array, "n p"]:
    p, n_words = words.shape
    bits = (words.T[:, None, :] >> jnp.arange(WORD, dtype=jnp.uint32)[:, None]) & 1
    return bits.reshape(WORD * n_words, p)[:n].astype(dtype)


@functools.partial(jax.jit, static_argnums=1)
def _transposed(words: UInt32[Array, "p words"], n: int) -> UInt32[Array, "n p_words"]:
    p, n_words = words.shape
    shifts = jnp.arange(WORD, dtype=jnp.uint32)

    def codes(word: UInt32[Array, " p"]) -> UInt32[Array, "32 p_words"]:
        return pack_rows(((word[:, None] >> shifts) & 1).astype(bool)).T

    by_word = jax.lax.map(codes, words.T)
    return by_word.reshape(WORD * n_words, words_for(p))[:n]


def pack_rows(bits: Bool[Array, "n p"]) -> UInt32[Array, "words p"]:
    """Pack the rows of a matrix, 32 to a word; column by column, so that it vectorises."""
    n, p = bits.shape
    padded = jnp.pad(bits, ((0, -n % WORD), (0, 0))).astype(jnp.uint32)
    # The bits of a word are disjoint, so their sum is their union.
    shifts = jnp.arange(WORD, dtype=jnp.uint32)[:, None]
    return jnp.sum(padded.reshape(words_for(n), WORD, p) << shifts, axis=1, dtype=jnp.uint32)


def packed_over_examples(
    pre_activations: Callable[[Array], PyTree[Float[Array, "rows _"]]],
    X: Real[Array, "n ..."],
    rows: int,
    strict: bool,
) -> PyTree[UInt32[Array, "_ words"]]:
    """The packed patterns of `pre_activations(X)`, computed `rows` examples at a time.

    The floats of one block are all that ever exists of the pre-activations.
    """
    n = X.shape[0]
    if n == 0:
        none = jax.eval_shape(pre_activations, X)
        return jax.tree.map(lambda z: jnp.zeros((z.shape[1], 0), jnp.uint32), none)
    rows = min(rows, WORD * words_for(n))

    def block(start: Int[Array, ""]) -> PyTree[UInt32[Array, "words _"]]:
        example = start + jnp.arange(rows)
        values = pre_activations(X[jnp.minimum(example, n - 1)])
        real = (example < n)[:, None]
        return jax.tree.map(lambda z: pack_rows(is_active(z, strict) & real), values)

    words = jax.lax.map(block, jnp.arange(0, n, rows))
    return jax.tree.map(lambda w: w.reshape(-1, w.shape[-1])[: words_for(n)].T, words)
