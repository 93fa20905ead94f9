"""The numbers of `jax.random`, whatever the key, the width and the transformation."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxinfo._core import fold_in, uniform


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7, 3), (1000,)])
@pytest.mark.parametrize("x64", [False, True])
def test_equals_jax_random(shape, x64):
    with jax.enable_x64(x64):
        found, expected = uniform(jr.key(3), shape), jr.uniform(jr.key(3), shape)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("key", [jr.key(5, impl="rbg"), jr.PRNGKey(5)], ids=["rbg", "raw"])
def test_other_keys(key):
    np.testing.assert_array_equal(uniform(key, (4, 5)), jr.uniform(key, (4, 5)))
    found, expected = fold_in(key, jnp.array(7)), jr.fold_in(key, 7)
    assert found.dtype == expected.dtype
    assert (found == expected).all()


def test_folds_in_each_number_as_jax_random_does():
    numbers = jnp.array([0, 1, 2**16, 2**31 - 1])
    found = jax.vmap(lambda number: fold_in(jr.key(3), number))(numbers)
    expected = jax.vmap(lambda number: jr.fold_in(jr.key(3), number))(numbers)
    np.testing.assert_array_equal(jr.key_data(found), jr.key_data(expected))


def test_under_vmap_and_jit():
    keys = jr.split(jr.key(1), 3)
    found = jax.jit(jax.vmap(lambda key: uniform(key, (10,))))(keys)
    np.testing.assert_array_equal(found, jnp.stack([jr.uniform(key, (10,)) for key in keys]))
