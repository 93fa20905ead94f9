"""Values and gradients at the points where the formula is a limit."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo._core import as_inexact, safe_divide, xlog2x


def test_xlog2x():
    assert xlog2x(jnp.array([0.0, 0.5, 1.0, 4.0])).tolist() == [0.0, -0.5, 0.0, 8.0]
    assert jnp.isnan(xlog2x(jnp.array([-1.0, jnp.nan]))).all()
    grads = jax.vmap(jax.grad(xlog2x))(jnp.array([0.0, 1.0]))
    assert jnp.allclose(grads, jnp.array([0.0, 1 / jnp.log(2.0)]))


def test_safe_divide():
    assert safe_divide(jnp.array([1.0, 0.0]), jnp.array([0.0, 0.0])).tolist() == [0.0, 0.0]
    assert safe_divide(jnp.array(1.0), jnp.array(0.0), at_zero=7.0) == 7.0
    grads = jax.grad(lambda x, y: safe_divide(x, y), argnums=(0, 1))(jnp.array(1.0), jnp.array(0.0))
    assert grads == (0.0, 0.0)


def test_long_integers_of_numpy_keep_their_high_half():
    assert as_inexact(np.array([2**32, -(2**40)])).tolist() == [2.0**32, -(2.0**40)]
    assert as_inexact(np.uint64(2**63)) == 2.0**63
    assert as_inexact(np.array([True, False])).tolist() == [1.0, 0.0]
