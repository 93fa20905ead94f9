"""The functions that are not of one number at a time, or carry a parameter; an outside oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo import activations as A

torch = pytest.importorskip("torch")

ORACLES = {
    "relu6": torch.nn.functional.relu6,
    "lrelu": torch.nn.functional.leaky_relu,
    "log_sigmoid": torch.nn.functional.logsigmoid,
    "elu": torch.nn.functional.elu,
    "selu": torch.nn.functional.selu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "mish": torch.nn.functional.mish,
    "hard_tanh": torch.nn.functional.hardtanh,
    "hard_sigmoid": torch.nn.functional.hardsigmoid,
    "hard_silu": torch.nn.functional.hardswish,
    "soft_sign": torch.nn.functional.softsign,
    "softplus": torch.nn.functional.softplus,
}


@pytest.mark.parametrize("name", ORACLES)
def test_against_torch(name, x64):
    x = np.linspace(-15, 15, 200)
    np.testing.assert_allclose(
        getattr(A, name)(jnp.asarray(x)), ORACLES[name](torch.tensor(x)), rtol=1e-7, atol=1e-8
    )


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 3.0])
def test_softmax_and_its_jacobian(tau, getkey):
    x = jax.random.normal(getkey(), (3, 4))
    p = A.softmax(x, tau)
    np.testing.assert_allclose(p, jax.nn.softmax(x / (tau or 1.0)), rtol=1e-5)
    expected = jax.vmap(jax.jacobian(lambda row: A.softmax(row, tau)))(x)
    np.testing.assert_allclose(A.d_softmax(x, tau), expected, atol=1e-6)
    np.testing.assert_allclose(jax.jit(A.softmax)(x, tau), p, rtol=1e-6)


def test_softmax_at_infinity():
    inf = jnp.inf
    x = jnp.array([[inf, 0.0, inf], [-inf, -inf, -inf], [0.0, -inf, 0.0]])
    third = 1 / 3
    np.testing.assert_allclose(
        A.softmax(x), [[0.5, 0, 0.5], [third, third, third], [0.5, 0, 0.5]], rtol=1e-6
    )
    assert jnp.all(jnp.isfinite(jax.jacobian(A.softmax)(x)))


@pytest.mark.parametrize("f", [A.threshold_soft, A.threshold_cauchy])
def test_thresholds_are_safe_and_nearly_the_identity_far_out(f):
    x = jnp.array([-jnp.inf, -1e30, -2.0, -1.0, 0.0, 1.0, 2.0, 1e30, jnp.inf])
    value, slope = f(x, 1.0), jax.vmap(jax.grad(f), (0, None))(x, 1.0)
    assert jnp.all(jnp.isfinite(slope))
    np.testing.assert_array_equal(value[jnp.array([0, 1, 4, 7, 8])], x[jnp.array([0, 1, 4, 7, 8])])
    assert not jnp.any(jnp.isnan(f(x.astype(jnp.bfloat16), 1.0)))
    np.testing.assert_array_equal(value, -f(-x, 1.0))


def test_threshold_soft_is_the_proximal_map(x64):
    x, lmbda = 1.7, 0.6
    grid = jnp.linspace(-3, 3, 60001)
    best = grid[jnp.argmin(0.5 * (grid - x) ** 2 + lmbda * jnp.abs(grid))]
    assert float(A.threshold_soft(x, lmbda)) == pytest.approx(float(best), abs=1e-4)


def test_inverses_undo_and_clip():
    x = jnp.linspace(-2.0, 2.0, 9)
    np.testing.assert_allclose(A.inverse_tanh(A.tanh(x)), x, atol=1e-5)
    np.testing.assert_allclose(A.inverse_logistic(A.sigmoid(x)), x, atol=1e-5)
    assert float(A.inverse_tanh(1.0)) == jnp.inf
    assert float(A.inverse_tanh(1.0, 0.1)) == pytest.approx(np.arctanh(0.9), rel=1e-5)
    assert float(A.inverse_logistic(0.0, 0.0)) == -jnp.inf
    assert jnp.isfinite(jax.grad(A.inverse_logistic)(0.0))


def test_bkwta():
    x = jnp.array([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(A.bkwta(x, 1), [[1, 0, 0], [1, 1, 0]])
    np.testing.assert_array_equal(jax.vmap(lambda row: A.bkwta(row, 2))(x), A.bkwta(x, 2))
    with pytest.raises(ValueError, match="between 1 and the length 3"):
        A.bkwta(x)


def test_python_numbers_and_integers_are_welcome():
    assert float(A.relu(-2.0)) == 0.0
    assert A.sigmoid(np.array([0, 1])).dtype == jnp.float32
    np.testing.assert_array_equal(A.d_relu(jnp.array([-1, 2])), [0.0, 1.0])
