"""Rows of small integers packed into 32-bit words, and which of those rows are equal.

Both the joint histogram (a row is one sample's vector of bin numbers) and the distinct activation
patterns (a row is one neuron's bits over the data) come down to this file.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from ._devices import undivided


def bits_for(n_values: int) -> int:
    """Bits needed for the integers `0 ... n_values - 1` (at least one)."""
    return max(1, (n_values - 1).bit_length())


def pack_fields(fields: Int[Array, "n d"], bits: int) -> UInt32[Array, "n words"]:
    """Pack `d` unsigned integers below `2**bits` into `ceil(d / (32 // bits))` words a row.

    The first field takes the lowest bits of the first word; a field never straddles two words.
    """
    per_word = 32 // bits
    n, d = fields.shape
    padded = jnp.pad(fields.astype(jnp.uint32), ((0, 0), (0, -d % per_word)))
    by_word = padded.reshape(n, -(-d // per_word), per_word)
    shifts = jnp.arange(per_word, dtype=jnp.uint32) * jnp.uint32(bits)
    # The fields of a word occupy disjoint bits, so their sum is their union.
    return jnp.sum(by_word << shifts, axis=-1, dtype=jnp.uint32)


def unpack_fields(words: UInt32[Array, "n words"], bits: int, d: int) -> UInt32[Array, "n d"]:
    """The inverse of `pack_fields`."""
    shifts = jnp.arange(32 // bits, dtype=jnp.uint32) * jnp.uint32(bits)
    fields = (words[:, :, None] >> shifts) & jnp.uint32((1 << bits) - 1)
    return fields.reshape(words.shape[0], words.shape[1] * (32 // bits))[:, :d]


def group_rows(
    words: UInt32[Array, "n words"], valid: Bool[Array, " n"] | None = None
) -> Int[Array, " n"]:
    """For each row, the index of the first row equal to it; `n` for rows that are not valid.

    A hash table filled by all rows at once: every unplaced row claims the slot of its hash, the
    smallest row number wins the slot, and the rows that are *equal to the winner, word by word*,
    are placed with it. The others try again with another hash. So a collision costs a round, never
    an answer; about five rounds place a million rows. Runs under `jit` and `vmap`, on any device,
    with $O(n)$ work and memory.
    """
    return undivided(_grouped, words, valid)


def _grouped(words: UInt32[Array, "n words"], valid: Bool[Array, " n"] | None) -> Int[Array, " n"]:
    n = words.shape[0]
    size = 1 << (2 * max(n, 1) - 1).bit_length()
    rows = jnp.arange(n, dtype=jnp.int32)

    def unplaced(state):
        _, placed, _ = state
        return jnp.any(~placed)

    def claim(state):
        first, placed, seed = state
        slot = (_hash(words, seed) & jnp.uint32(size - 1)).astype(jnp.int32)
        claims = jnp.full(size, n, jnp.int32)
        claims = claims.at[jnp.where(placed, size, slot)].min(rows, mode="drop")
        winner = jnp.minimum(claims[slot], n - 1)
        same = ~placed & jnp.all(words[winner] == words, axis=1)
        return jnp.where(same, winner, first), placed | same, seed + jnp.uint32(1)

    placed = jnp.zeros(n, bool) if valid is None else ~valid
    if n == 0:
        return rows
    first, _, _ = jax.lax.while_loop(
        unplaced, claim, (jnp.full(n, n, jnp.int32), placed, jnp.uint32(0))
    )
    return first


def _hash(words: UInt32[Array, "n words"], seed: UInt32[Array, ""]) -> UInt32[Array, " n"]:
    """A 32-bit hash of each row: multiply, rotate, mix, with the finaliser of MurmurHash3."""
    h = jnp.full(words.shape[0], 0x9E3779B9, jnp.uint32) * (seed * jnp.uint32(2) + jnp.uint32(1))

    def absorb(h, word):
        k = word * jnp.uint32(0xCC9E2D51)
        k = (k << 15) | (k >> 17)
        h = h ^ (k * jnp.uint32(0x1B873593))
        h = (h << 13) | (h >> 19)
        return h * jnp.uint32(5) + jnp.uint32(0xE6546B64)

    if words.shape[1] <= 16:
        for column in range(words.shape[1]):
            h = absorb(h, words[:, column])
    else:  # a loop in the program, not a program as long as the row
        h, _ = jax.lax.scan(lambda h, word: (absorb(h, word), None), h, words.T)
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return h ^ (h >> 16)
