"""Entropy and mutual information: closed forms, bounds, a second definition, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax.test_util import check_grads

from jaxinfo.info import PlugIn, entropy, mutual_information


def tables(seed, shape=(4, 5)):
    return np.random.default_rng(seed).integers(0, 6, shape)


def test_closed_forms():
    assert entropy(jnp.ones(8)) == 3
    assert entropy(jnp.array([0, 7, 0])) == 0
    assert mutual_information(jnp.eye(4)) == 2
    assert jnp.isnan(mutual_information(jnp.zeros((2, 2))))
    assert jnp.isnan(entropy(jnp.zeros(2)))
    # A binary symmetric channel that errs with probability 1/4.
    expected = 1 - float(entropy(jnp.array([0.25, 0.75])))
    assert np.isclose(mutual_information(jnp.array([[3, 1], [1, 3]])), expected, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_bounds_symmetry_and_a_second_definition(seed):
    table = tables(seed) + np.eye(4, 5, dtype=int)  # never empty
    value = float(mutual_information(jnp.asarray(table)))
    rows, columns = (float(entropy(jnp.asarray(table.sum(axis)))) for axis in (1, 0))
    joint = float(entropy(jnp.asarray(table.ravel())))
    assert 0 <= value <= min(rows, columns) + 1e-6
    assert np.isclose(value, rows + columns - joint, atol=1e-5)
    assert np.isclose(value, mutual_information(jnp.asarray(table.T)), atol=1e-6)
    shuffled = table[:, np.random.default_rng(seed).permutation(5)]
    assert np.isclose(value, mutual_information(jnp.asarray(shuffled)), atol=1e-6)


def bits(table):
    """Entropy by its definition, in double precision."""
    p = np.asarray(table, np.float64).ravel()
    p = p[p > 0] / p.sum()
    return -(p * np.log2(p)).sum()


@pytest.mark.parametrize("scale", (3e38, 1e25, 1e-20, 1.2e-38, 1e-40))
def test_a_table_may_be_of_any_size(scale):
    # Also below the smallest normal number, which JAX's arithmetic takes for 0.
    ratios = np.array([[1.0, 0.25], [0.0, 0.5]])
    table = jnp.asarray((ratios * scale).astype(np.float32))
    np.testing.assert_allclose(entropy(table.ravel()), bits(ratios), rtol=1e-4)
    by_ratios = mutual_information(jnp.asarray(ratios))
    np.testing.assert_allclose(mutual_information(table), by_ratios, rtol=1e-4)
    both = jax.jit(lambda t: (entropy(t.ravel()), mutual_information(t)))(table)
    np.testing.assert_allclose(both, [bits(ratios), by_ratios], rtol=1e-4)


@pytest.mark.parametrize(
    "table",
    (
        np.full(2, 40_000, np.float16),
        np.full(4096, 100, np.float16),
        np.ones(70_000, np.float16),
        np.array([256, 3, 1], jnp.bfloat16),
        np.array([200, 100, 255], np.uint8),
        np.array([127, 127, 100], np.int8),
    ),
    ids=lambda table: f"{table.size} {table.dtype}",
)
def test_counts_of_any_dtype(table):
    np.testing.assert_allclose(float(entropy(jnp.asarray(table))), bits(table), rtol=4e-3)
    joint = jnp.diag(jnp.asarray(table[:2]))
    np.testing.assert_allclose(float(mutual_information(joint)), bits(table[:2]), rtol=4e-3)


def test_what_is_no_table_of_counts_is_not_a_number():
    for bad in (jnp.nan, jnp.inf, -1.0):
        table = jnp.array([[1.0, bad], [2.0, 3.0]])
        assert jnp.isnan(entropy(table.ravel())) and jnp.isnan(mutual_information(table))


def test_independent_tables_give_zero_and_never_less():
    table = jnp.outer(jnp.array([0.1, 0.3, 0.6]), jnp.array([0.25, 0.7, 0.05]))
    assert 0 <= mutual_information(table) < 1e-6


@pytest.mark.parametrize("empty", [False, True])
def test_gradient(empty, x64):
    table = jnp.asarray(tables(0) + 1.0)
    if empty:
        table = table.at[1].set(0.0)
        assert jnp.isfinite(jax.grad(mutual_information)(table)).all()
        # Where a cell is empty its own infinite term is left out; the others are true derivatives.
        inner = table[jnp.array([0, 2, 3])]
        full = jax.grad(mutual_information)(table)[jnp.array([0, 2, 3])]
        assert jnp.allclose(full, jax.grad(mutual_information)(inner))
    else:
        check_grads(lambda t: mutual_information(jnp.asarray(t)), (table,), order=1, rtol=1e-6)


def test_single_and_double_precision_agree(x64):
    table = jnp.asarray(tables(3) + 1)
    assert jnp.allclose(
        mutual_information(table.astype(jnp.float32)), mutual_information(table), atol=1e-6
    )


def test_large_counts_keep_their_digits():
    counts = jnp.array([[2**30, 0], [0, 2**30]], jnp.int32) // 2
    assert mutual_information(counts) == 1
    big = 2**31 - 1  # and past 32 bits together
    counts = np.array([[big, 1], [1, big]], np.int32)
    expected = (
        bits(counts.sum(1, dtype=np.int64)) + bits(counts.sum(0, dtype=np.int64)) - bits(counts)
    )
    for estimate in (PlugIn(), mutual_information):
        np.testing.assert_allclose(estimate(jnp.asarray(counts)), expected, atol=1e-5)


def test_plug_in_bias_is_that_of_independent_variables(getkey):
    x = jax.random.randint(getkey(), (400, 500), 0, 4)
    y = jax.random.randint(getkey(), (400, 500), 0, 4)
    cells = jax.vmap(lambda a, b: jnp.zeros(16, jnp.int32).at[4 * a + b].add(1))(x, y)
    counts = cells.reshape(400, 4, 4)
    # Truth is 0, so the mean of the estimates is the bias; 400 tables give it to a few per cent.
    mean = jnp.mean(PlugIn()(counts))
    assert jnp.isclose(mean, jnp.mean(PlugIn().bias(counts)), rtol=0.1)
    assert PlugIn()(jnp.zeros((2, 3), jnp.int32)) == 0
    assert PlugIn().bias(jnp.zeros((2, 3), jnp.int32)) == 0
