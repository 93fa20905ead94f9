"""Messages say what was expected, what came, what to do."""

import jax
import jax.numpy as jnp
import pytest

import jaxinfo
from jaxinfo._core import checked, one_of, require, unknown_name


def test_a_known_value_is_checked_at_once():
    with pytest.raises(ValueError, match="no good"):
        checked(1.0, jnp.array(True), "no good")
    assert checked(1.0, False, "no good") == 1.0


def test_a_traced_value_is_checked_where_asked_for():
    def f(x):
        return checked(x, jnp.any(x < 0), "negative")

    assert jax.jit(f)(jnp.array(-1.0)) == -1.0
    with jaxinfo.value_checks():
        guarded = jax.jit(lambda x: f(x))
        with pytest.raises(Exception, match="negative"):
            jax.block_until_ready(guarded(jnp.array(-1.0)))
    assert jax.jit(lambda x: f(x))(jnp.array(-1.0)) == -1.0


def test_choices_and_names():
    with pytest.raises(ValueError, match="`colour` must be one of 'red', 'blue'; got 'green'"):
        one_of("colour", "green", ("red", "blue"))
    error = unknown_name("layer", "layer.0", ["layers.0", "layers.1"])
    assert "Did you mean 'layers.0'" in str(error)
    assert "'layers.1'" in str(error)


def test_a_missing_dependency_names_the_extra():
    with pytest.raises(ImportError, match=r"pip install 'jaxinfo\[report\]'"):
        require("no_such_package.part", extra="report")
