"""Small operations: closed forms, laws, statistics of the random ones, and bad input."""

import types

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays_of

from jaxinfo import ops


def test_clamps_at_every_kind_of_number():
    x = jnp.array([-jnp.inf, -1e30, -1.0, -0.0, 0.0, 1.0, 1e30, jnp.inf, jnp.nan])

    @jax.jit
    def all_of(x):
        slopes = [jax.vmap(jax.grad(f), (0, None))(x, 0.0) for f in (ops.clamp_min, ops.clamp_max)]
        return ops.clamp_min(x, 0.0), ops.clamp_max(x, 0.0), *slopes

    low, high, d_low, d_high = all_of(x)
    np.testing.assert_array_equal(low, np.maximum(x, 0))
    np.testing.assert_array_equal(high, np.minimum(x, 0))
    np.testing.assert_array_equal(d_low[:-1], x[:-1] > 0)
    np.testing.assert_array_equal(d_high[:-1], x[:-1] < 0)
    np.testing.assert_array_equal(ops.clamp_min(np.array([1, 5]), 3), [3.0, 5.0])
    np.testing.assert_array_equal(
        ops.clamp_max(jnp.zeros((2, 2)), np.array([1.0, -1.0])), [[0, -1]] * 2
    )


def test_one_hot_and_binarize():
    p = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.0, 0.0, 0.0]])
    expected = [[0, 1, 0], [1, 0, 0], [1, 0, 0]]
    np.testing.assert_array_equal(ops.one_hot(p), expected)
    np.testing.assert_array_equal(jax.vmap(ops.one_hot)(jnp.asarray(p)), expected)
    np.testing.assert_array_equal(ops.one_hot(np.array([[1, 5]])), [[0.0, 1.0]])
    assert ops.one_hot(jnp.ones((1, 2), jnp.bfloat16)).dtype == jnp.bfloat16
    data = jnp.array([0.4, 0.5, jnp.inf, -jnp.inf])
    np.testing.assert_array_equal(ops.binarize(data), [0, 1, 1, 0])
    np.testing.assert_array_equal(ops.binarize(data, threshold=0.4), [1, 1, 1, 0])
    np.testing.assert_array_equal(ops.binarize(np.array([0, 1])), [0.0, 1.0])


ORDERS = (0.5, 1, 1.5, 2, 3, 7, jnp.inf)


@jax.jit
def normalized(x, wnorm, scale):
    """Every order along every axis of a 3-d array, and the gradient; one compilation."""
    found = {
        (order, axis): ops.normalize_matrix(x, wnorm, order, axis, scale)
        for order in ORDERS
        for axis in (0, 1, -1)
    }

    def total(x, order):
        return jnp.sum(jnp.sin(ops.normalize_matrix(x, wnorm, order, 1, scale)))

    return found, {order: jax.grad(total)(x, order) for order in ORDERS}


def test_normalize_matrix_reaches_the_norm_for_any_order_and_axis(x64):
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    x[:, 1, 2] = 0  # a column, ...
    x[0, :, 1] = 0  # ... a row, ...
    x[2, 3, :] = 0  # ... and a depth of zeros, which stay
    for size in (1.0, 1e200, 1e-200):
        found, _ = normalized(x * size, 2.5, 1.0)
        for (order, axis), y in found.items():
            sizes = np.abs(np.asarray(y))
            norms = sizes.max(axis) if order == jnp.inf else (sizes**order).sum(axis) ** (1 / order)
            zero = np.all(x == 0, axis=axis)
            np.testing.assert_allclose(norms, np.where(zero, 0, 2.5), rtol=1e-9)
            assert np.all(np.sign(y) == np.sign(x))


def test_a_step_towards_the_normalized_matrix(x64):
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    whole, _ = normalized(x, 2.0, 1.0)
    third, _ = normalized(x, 2.0, 1 / 3)
    for key in whole:
        np.testing.assert_allclose(third[key], x + (whole[key] - x) / 3, rtol=1e-12)


def test_gradient_of_normalize_matrix(x64):
    rng = np.random.default_rng(2)
    x, direction = rng.normal(size=(2, 3, 4, 5))
    x[0, :, 1] = 0
    direction[0, :, 1] = 0  # a vector of zeros has no direction to move in
    _, gradients = normalized(x, 2.0, 0.7)
    h = 1e-6
    above, below = (normalized(x + sign * h * direction, 2.0, 0.7)[0] for sign in (1, -1))
    for order, gradient in gradients.items():
        steps = (np.sin(above[order, 1]).sum() - np.sin(below[order, 1]).sum()) / (2 * h)
        assert np.all(np.isfinite(gradient))
        np.testing.assert_allclose(np.sum(gradient * direction), steps, rtol=1e-4, atol=1e-8)
    whole = normalized(x, 2.0, 1.0)[1]
    for gradient in whole.values():
        np.testing.assert_array_equal(np.asarray(gradient)[0, :, 1], 0)


@pytest.mark.parametrize("dtype, huge, tiny", [("float32", 3e38, 2e-38), ("float16", 6e4, 1e-4)])
def test_normalize_matrix_at_the_ends_of_the_dtype(dtype, huge, tiny):
    x = jnp.asarray([[huge, tiny, 0.0], [-huge, tiny, 0.0]], dtype)
    y = ops.normalize_matrix(x, 1.0, order=2)
    assert y.dtype == x.dtype
    half = 0.5**0.5
    np.testing.assert_allclose(y, [[half, half, 0], [-half, half, 0]], rtol=1e-3)


def test_normalize_matrix_of_integers_by_name_and_refusals():
    np.testing.assert_allclose(
        ops.normalize_matrix(M=np.array([[3, 4]]), wnorm=1.0, order=2, axis=1), [[0.6, 0.8]]
    )
    per_column = ops.normalize_matrix(jnp.ones((2, 3)), jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(per_column.sum(0), [1, 2, 3])
    assert ops.normalize_matrix(jnp.ones((0, 2)), 1.0).shape == (0, 2)
    for order in (0, -1, "fro", float("nan")):
        with pytest.raises((ValueError, TypeError), match="order"):
            ops.normalize_matrix(jnp.ones((2, 2)), 1.0, order=order)


@given(
    arrays_of.arrays(
        np.float32,
        (3, 4),
        elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
    )
)
@settings(max_examples=40, deadline=None)
def test_normalizing_twice_changes_nothing(x):
    once = ops.normalize_matrix(x, 1.0, order=2)
    np.testing.assert_allclose(ops.normalize_matrix(once, 1.0, order=2), once, rtol=1e-5, atol=1e-7)


def test_drop_out_statistics_and_gradient():
    x = jnp.arange(1.0, 20001.0).reshape(100, 200)

    @jax.jit
    def both(x, key, rate):
        output, mask = ops.drop_out(key, x, rate)
        slope = jax.grad(lambda x: ops.drop_out(key, x, rate)[0].sum())(x)
        return output, mask, slope

    for rate in (0.0, 0.2, 0.5, 1.0):
        output, mask, slope = both(x, jr.key(1), rate)
        assert set(np.unique(mask)) <= {0.0, 1.0}
        kept = 1 - rate
        np.testing.assert_allclose(output, np.asarray(x) * mask / (kept or 1), rtol=1e-6)
        np.testing.assert_allclose(slope, mask / (kept or 1), rtol=1e-6)
        assert abs(float(mask.mean()) - kept) <= 5 * (rate * kept / x.size) ** 0.5
    again = both(x, jr.key(1), 0.5)[1]
    assert np.array_equal(again, both(x, jr.key(1), 0.5)[1])
    assert not np.array_equal(again, both(x, jr.key(2), 0.5)[1])


def test_drop_out_of_integers_infinities_and_bad_rates():
    output, mask = ops.drop_out(jr.key(0), np.array([[1, 2, 3, 4]]), 0.5)
    np.testing.assert_array_equal(output, 2 * np.array([[1, 2, 3, 4]]) * mask)
    dropped, _ = ops.drop_out(jr.key(0), jnp.full((4, 4), jnp.inf), 1.0)
    np.testing.assert_array_equal(dropped, 0)  # not infinity times nothing
    assert ops.drop_out(jr.key(0), jnp.ones((2, 2), jnp.bfloat16), 0.5)[0].dtype == jnp.bfloat16
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="`rate` is a probability"):
            ops.drop_out(jr.key(0), jnp.ones((2, 2)), rate)


def test_every_documented_kernel_has_its_statistics():
    n = 40_000
    uniform = np.asarray(ops.initialize_params(jr.key(0), ("uniform", -0.3, 0.8), (200, 200)))
    assert -0.3 <= uniform.min() and uniform.max() < 0.8
    assert abs(uniform.mean() - 0.25) < 6 * 1.1 / (12 * n) ** 0.5
    assert abs(uniform.var() - 1.1**2 / 12) < 0.01 * 1.1**2
    for name in ("gaussian", "normal"):
        values = np.asarray(ops.initialize_params(jr.key(1), (name, 1.0, 0.5), (200, 200)))
        assert abs(values.mean() - 1) < 6 * 0.5 / n**0.5
        assert abs(values.std() - 0.5) < 6 * 0.5 / (2 * n) ** 0.5
        cubed = ((values - 1) / 0.5) ** 3
        assert abs(cubed.mean()) < 6 * (15 / n) ** 0.5  # not skewed
    np.testing.assert_array_equal(
        ops.initialize_params(jr.key(0), ("constant", -1.5), (2, 3)), -1.5
    )
    np.testing.assert_array_equal(
        ops.initialize_params(jr.key(0), ("eye", 2, 0.0), [2, 4]), 2 * np.eye(2, 4)
    )
    hollow = ops.initialize_params(jr.key(0), ["hollow", 0.7, 0.0], (3, 3))
    np.testing.assert_allclose(hollow, 0.7 * (1 - np.eye(3)))
    jitted = jax.jit(lambda key, low: ops.initialize_params(key, ("uniform", low, 0.8), (200, 200)))
    np.testing.assert_allclose(jitted(jr.key(0), -0.3), uniform, atol=1e-6)


@pytest.mark.parametrize(
    "kernel, shape, error, message",
    [
        (("nope", 1.0, 2.0), (2, 2), KeyError, "There is no kernel 'nope'. Known: 'uniform'"),
        (("uniform", 1.0), (2, 2), ValueError, "takes 2 to 2 numbers"),
        (("constant",), (2, 2), ValueError, "takes 1 to 2 numbers"),
        (("uniform", 0, 1, 2), (2, 2), ValueError, "takes 2 to 2 numbers"),
        (("eye", 1.0), (2, 2, 2), ValueError, "the diagonal is that of a matrix"),
        ("uniform", (2, 2), ValueError, "`initKernel` must be a list"),
        ((), (2, 2), ValueError, "a name and its numbers"),
    ],
)
def test_bad_kernels(kernel, shape, error, message):
    with pytest.raises(error, match=f"(?i){message}"):
        ops.initialize_params(jr.key(0), kernel, shape)


def test_pull_equations_of_controllers_and_pytrees():
    class Cell(eqx.Module):
        weight: jax.Array
        equation: str = eqx.field(static=True)

    cell = Cell(jnp.ones(2), "tau * dv/dt = -v + j")
    assert ops.pull_equations({"layers": [cell, 3.0], "name": "x"}) == f"layers.0: {cell.equation}"
    assert ops.pull_equations(cell) == f"Cell: {cell.equation}"
    controller = types.SimpleNamespace(
        components={"z": cell, "w": object(), "e": Cell(jnp.ones(1), "")}
    )
    assert ops.pull_equations(controller=controller) == f"z: {cell.equation}\ne: "
    number = types.SimpleNamespace(equation=3)  # an attribute that is not text
    assert ops.pull_equations([number]) == ops.pull_equations([]) == ""
