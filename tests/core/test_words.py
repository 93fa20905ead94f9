"""Packed rows: equal to NumPy's view of the same rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxinfo._core import bits_for, group_rows, pack_fields, unpack_fields


@settings(max_examples=25, deadline=None)
@given(
    n=st.sampled_from([1, 17, 64]),
    d=st.sampled_from([1, 5, 40]),
    values=st.sampled_from([2, 3, 8, 200]),
    seed=st.integers(0, 2**31 - 1),
)
def test_packing_is_reversible_and_groups_as_numpy_does(n, d, values, seed):
    rng = np.random.default_rng(seed)
    # Few distinct rows, so that there is something to group.
    rows = rng.integers(0, values, (max(1, n // 3), d))[rng.integers(0, max(1, n // 3), n)]
    bits = bits_for(values)
    words = pack_fields(jnp.asarray(rows), bits)
    assert np.array_equal(unpack_fields(words, bits, d), rows)
    first = np.asarray(group_rows(words))
    _, index, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    assert np.array_equal(first, index[inverse.ravel()])


def test_rows_that_are_not_valid_are_left_out():
    words = jnp.array([[1], [2], [1], [2]], jnp.uint32)
    valid = jnp.array([False, True, True, True])
    assert group_rows(words, valid).tolist() == [4, 1, 2, 1]


def test_no_rows():
    assert group_rows(jnp.zeros((0, 3), jnp.uint32)).shape == (0,)


def test_a_full_collision_of_the_hash_does_not_merge_rows(monkeypatch):
    # Whatever the hash says, rows are compared: with a constant hash the answer is the same.
    from jaxinfo._core import _words

    def constant(words, seed):
        return jnp.zeros(words.shape[0], jnp.uint32)

    monkeypatch.setattr(_words, "_hash", constant)
    words = jnp.arange(9, dtype=jnp.uint32)[:, None] % 3
    assert group_rows(words).tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]


def test_grouping_under_jit_and_vmap(getkey):
    words = jax.random.randint(getkey(), (4, 50, 2), 0, 3).astype(jnp.uint32)
    one_by_one = jnp.stack([group_rows(w) for w in words])
    assert jnp.array_equal(jax.jit(jax.vmap(lambda w: group_rows(w)))(words), one_by_one)


@pytest.mark.parametrize(("values", "bits"), [(2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (1, 1)])
def test_bits(values, bits):
    assert bits_for(values) == bits
