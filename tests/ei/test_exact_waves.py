"""The small tools of the exact route, against NumPy and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.ei._waves import all_but_one, product, sincs, waves


@pytest.mark.parametrize("dtype, accuracy", (("float32", 4e-6), ("float64", 3e-14)))
def test_waves_and_sincs(dtype, accuracy, x64):
    turns = np.array([0.0, 0.25, -0.5, 0.1, 7.3, -123.456, 1e-9, 0.75])
    k = np.arange(1, 9)
    angle = 2 * np.pi * k * turns[:, None]
    cos, sin = waves(jnp.asarray(turns, dtype), 8)
    exact = np.asarray(jnp.asarray(turns, dtype), float)[:, None] * k * 2 * np.pi
    np.testing.assert_allclose(cos, np.cos(exact), atol=accuracy)
    np.testing.assert_allclose(sin, np.sin(exact), atol=accuracy)
    np.testing.assert_allclose(sincs(jnp.asarray(turns, dtype), 8), np.sinc(angle / np.pi),
                               atol=20 * accuracy)  # fmt: skip


def test_slopes_are_those_of_differences(x64):
    turns = jnp.array([0.0, 0.05, 0.0796, -0.3, 2.2, 1e-200])
    for fn in (lambda x: waves(x, 3)[0], lambda x: waves(x, 3)[1], lambda x: sincs(x, 3)):
        _, slope = jax.jvp(fn, (turns,), (jnp.ones_like(turns),))
        h = 1e-5
        expected = (fn(turns + h) - fn(turns - h)) / (2 * h)
        np.testing.assert_allclose(slope, expected, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("n", (1, 2, 5, 8))
def test_products_without_one(n, x64):
    x = np.random.default_rng(n).normal(size=(n, 2))
    x[0, 0] = 0
    expected = np.stack([np.prod(np.delete(x, i, axis=0), axis=0) for i in range(n)])
    np.testing.assert_allclose(all_but_one(jnp.asarray(x)), expected, rtol=1e-12)
    np.testing.assert_allclose(product(jnp.asarray(x)), np.prod(x, axis=0), rtol=1e-12)
    gradient = jax.grad(lambda x: jnp.sum(product(x)))(jnp.asarray(x))
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)
