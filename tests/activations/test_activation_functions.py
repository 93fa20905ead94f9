"""The functions that are not of one number at a time, or carry a parameter; an outside oracle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo import activations as A

# Our names, and those of torch.nn.functional.
SAME_AS_TORCH = {
    "relu6": "relu6",
    "lrelu": "leaky_relu",
    "log_sigmoid": "logsigmoid",
    "elu": "elu",
    "selu": "selu",
    "gelu": "gelu",
    "silu": "silu",
    "mish": "mish",
    "hard_tanh": "hardtanh",
    "hard_sigmoid": "hardsigmoid",
    "hard_silu": "hardswish",
    "soft_sign": "softsign",
    "softplus": "softplus",
}


def test_against_torch(x64):
    torch = pytest.importorskip("torch", reason="compares with torch")
    x = np.linspace(-15, 15, 200)
    oracles = {ours: getattr(torch.nn.functional, theirs) for ours, theirs in SAME_AS_TORCH.items()}
    oracles["gelu_tanh"] = functools.partial(oracles["gelu"], approximate="tanh")
    found = jax.jit(lambda x: {name: getattr(A, name)(x) for name in oracles})(x)
    for name, oracle in oracles.items():
        np.testing.assert_allclose(
            found[name], oracle(torch.tensor(x)), rtol=1e-7, atol=1e-8, err_msg=name
        )


def test_softmax_and_its_jacobian(x64):
    x = np.random.default_rng(0).normal(size=(3, 4))

    @jax.jit
    def both(x, tau):
        jacobian = jax.vmap(jax.jacobian(lambda row: A.softmax(row, tau)))(x)
        return A.softmax(x, tau), A.d_softmax(x, tau), jacobian

    for tau in (0.0, 0.5, 1.0, 3.0, -1.0, 1e-3, 1e-300):
        p, by_formula, jacobian = both(x, tau)
        warm = (x - x.max(axis=1, keepdims=True)) / (tau if tau > 0 else 1.0)
        expected = np.exp(warm) / np.exp(warm).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(p, expected, rtol=1e-12, atol=1e-300)
        np.testing.assert_allclose(by_formula, jacobian, atol=1e-9)
        np.testing.assert_allclose(A.softmax(x, tau), p, rtol=1e-12, atol=1e-300)


def test_softmax_of_huge_numbers_at_a_small_temperature():
    x = jnp.array([[1e30, 1.5e30], [-1e30, -1.5e30], [3e38, -3e38]])
    np.testing.assert_array_equal(A.softmax(x, 1e-37), [[0, 1], [1, 0], [1, 0]])
    np.testing.assert_array_equal(A.softmax(jnp.array([1, 2])), A.softmax(jnp.array([1.0, 2])))
    assert A.softmax(jnp.zeros((2, 0))).shape == (2, 0)


def test_softmax_at_infinity():
    inf = jnp.inf
    x = jnp.array([[inf, 0.0, inf], [-inf, -inf, -inf], [0.0, -inf, 0.0]])
    third = 1 / 3
    p, jacobian = jax.jit(lambda x: (A.softmax(x), jax.jacobian(A.softmax)(x)))(x)
    np.testing.assert_allclose(p, [[0.5, 0, 0.5], [third, third, third], [0.5, 0, 0.5]], rtol=1e-6)
    assert jnp.all(jnp.isfinite(jacobian))


@pytest.mark.parametrize("f", [A.threshold_soft, A.threshold_cauchy])
def test_thresholds_are_safe_and_nearly_the_identity_far_out(f):
    x = np.array([-np.inf, -1e30, -2.0, -1.0, -0.0, 0.0, 1.0, 2.0, 1e30, np.inf], np.float32)

    @jax.jit
    def all_of(x):
        half = x.astype(jnp.bfloat16)
        return f(x, 1.0), f(-x, 1.0), jax.vmap(jax.grad(f), (0, None))(x, 1.0), f(half, 1.0)

    value, mirrored, slope, half = map(np.asarray, all_of(x))
    assert np.all(np.isfinite(slope)) and not np.any(np.isnan(half.astype(np.float32)))
    far = [0, 1, 4, 5, 8, 9]
    np.testing.assert_array_equal(value[far], x[far])
    np.testing.assert_array_equal(value, -mirrored)


def test_threshold_cauchy_is_its_formula(x64):
    x = np.linspace(-3, 3, 61)
    for lmbda in (0.0, 0.3, 1.0, 2.0):
        root = np.sqrt(np.maximum(x**2 - lmbda, 0))
        expected = np.where(np.abs(x) >= lmbda, (x + np.sign(x) * root) / 2, 0)
        np.testing.assert_allclose(A.threshold_cauchy(x, lmbda), expected, atol=1e-12)


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
    assert jnp.all(jnp.isnan(A.inverse_logistic(jnp.array([-0.1, 1.1]), 0.0)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_clip_bounds_that_the_dtype_cannot_subtract_from_one(dtype):
    """`1 - bound` rounds to 1 here; the clipped ends are still finite, exact and opposite."""
    bound = float(jnp.finfo(dtype).eps) / 8
    ends = jnp.asarray([-jnp.inf, -1.0, 0.0, 1.0, jnp.inf], dtype)
    logit = jax.jit(A.inverse_logistic)(ends, bound)
    most = np.log(1 - bound) - np.log(bound)
    np.testing.assert_allclose(
        logit.astype(jnp.float32), [-most, -most, -most, most, most], rtol=1e-2
    )
    found = A.inverse_tanh(ends, bound).astype(jnp.float32)
    most = (np.log(2 - bound) - np.log(bound)) / 2
    np.testing.assert_allclose(found, [-most, -most, 0, most, most], rtol=1e-2)


def test_clipped_inverses_have_derivative_zero_outside_and_the_true_one_inside(x64):
    for f, low, high, bound in ((A.inverse_tanh, -1, 1, 0.1), (A.inverse_logistic, 0, 1, 0.03)):
        x = jnp.array([-jnp.inf, low, low + bound / 2, high - bound / 2, high, jnp.inf])
        slope = jax.jit(jax.vmap(jax.grad(f), (0, None)))
        np.testing.assert_array_equal(slope(x, bound), 0)
        inside = jnp.linspace(low + 1.5 * bound, high - 1.5 * bound, 6)
        steps = (f(inside + 1e-6, bound) - f(inside - 1e-6, bound)) / 2e-6
        np.testing.assert_allclose(slope(inside, bound), steps, rtol=1e-6)


def test_clip_bounds_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="less than 0.5"):
        A.inverse_logistic(0.3, 0.5)
    with pytest.raises(ValueError, match="less than 1, or nothing is left"):
        A.inverse_tanh(0.3, 1.0)


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


def test_steps_keep_not_a_number_and_the_type_of_what_steps():
    for step in (A.heaviside, A.spike, lambda x: A.threshold(x, jnp.float32(0.5))):
        for dtype in (jnp.float32, jnp.bfloat16):
            found = step(jnp.array([-1.0, jnp.nan, 1.0], dtype))
            assert found.dtype == dtype
            np.testing.assert_array_equal(found.astype(jnp.float32), [0.0, np.nan, 1.0])
    assert jnp.isnan(A.threshold(jnp.array(1.0), jnp.nan))
    assert jax.grad(A.heaviside)(0.5) == 0
