"""The public door: what it lets through, in which order it looks, and that programs know nothing of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int, Num

from jaxinfo._core import Natural, public


def product(
    a: Float[Array, "n d"], b: Float[Array, "d m"], times: Natural = 1
) -> Float[Array, "n m"]:
    return (a @ b) * times


guarded = public(product)
A, B = jnp.ones((2, 3)), jnp.ones((3, 4))


def test_a_program_does_not_know_of_the_door():
    assert str(jax.make_jaxpr(guarded)(A, B)) == str(jax.make_jaxpr(product)(A, B))


def test_arguments_are_looked_at_in_the_order_of_the_call():
    # Whatever the hash of their names in this process is.
    for first, second in (("a", "b"), ("b", "a")):
        given = {"a": jnp.ones((2, 3)), "b": jnp.ones((5, 4))}
        with pytest.raises(ValueError, match=f"`{second}` must be .* as in `{first}`"):
            guarded(**{first: given[first], second: given[second]})


def test_whole_numbers_and_lists_become_arrays_of_floats():
    np.testing.assert_array_equal(guarded([[1, 2, 3]], np.ones((3, 1), np.uint8)), [[6.0]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    (
        ((object(), B), TypeError, "`a` must be an array of real numbers"),
        ((A, jnp.ones((4, 4))), ValueError, "Here d = 3, as in `a`"),
        ((A, B, 2.5), TypeError, "`times` must be a whole number of at least 0"),
        ((A, B, -1), ValueError, "at least 0 and at most 2\\*\\*31 - 1; got -1"),
        ((A * 1j, B), ValueError, "`a` must be an array of real numbers"),
    ),
    ids=("object", "size", "fraction", "negative", "complex"),
)
def test_what_does_not_fit_is_said(arguments, error, message):
    with pytest.raises(error, match=message):
        guarded(*arguments)


def test_switches_are_as_they_were_after_an_error():
    with jax.numpy_rank_promotion("raise"):
        with pytest.raises(TypeError):
            guarded(object(), B)
        with pytest.raises(ValueError, match="rank_promotion"):
            jnp.ones((2, 3)) + jnp.ones(3)


@public
def total(x: Num[Array | np.ndarray, " n"]) -> Float[Array, ""]:
    return jnp.sum(x).astype(float)


@public
def first(labels: Int[Array | np.ndarray, " n"]) -> Int[Array, ""]:
    return jnp.asarray(labels)[0]


def test_no_integer_is_cut_to_its_low_half():
    """JAX takes the low 32 bits of NumPy's long integers; where these are not all, it is said."""
    assert total(np.array([2**33, 2**33])) == 2.0**34
    assert total(np.array([2**40], np.uint64)) == 2.0**40
    assert first(np.array([2**31 - 1])) == 2**31 - 1
    for wide in (2**31, 2**32, -(2**31) - 1):
        with pytest.raises(ValueError, match="`labels` must be .*int64.* need `jax_enable_x64`"):
            first(np.array([wide, 0]))


def test_with_64_bits_long_integers_stay(x64):
    assert first(np.array([2**40 + 1])) == 2**40 + 1
