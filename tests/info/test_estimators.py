"""Estimators: their definitions, brute-force oracles, laws, and less bias than the plug-in."""

import itertools
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import digamma

from jaxinfo.info import (
    ChaoShen,
    Extrapolation,
    Grassberger,
    Jackknife,
    MillerMadow,
    NonNegative,
    PanzeriTreves,
    PlugIn,
    ShuffledNull,
    standard_error,
)
from jaxinfo.info._panzeri_treves import _relevant
from jaxinfo.info._subsampling import _relative_mean

ESTIMATORS = [
    PlugIn(),
    MillerMadow(),
    Grassberger(),
    ChaoShen(),
    PanzeriTreves(),
    ShuffledNull(),
    Jackknife(),
    Extrapolation(),
    NonNegative(Jackknife()),
]
each = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
tables = hnp.arrays(np.int32, (3, 4), elements=st.integers(0, 9))
TABLE = np.array([[5, 1, 0], [1, 4, 5]])


def information(table):
    p = table / table.sum()
    product = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    seen = p > 0
    return float(np.sum(p[seen] * np.log2(p[seen] / product[seen])))


def entropies(table):
    return [table.sum(1), table.sum(0), table.ravel()]


def miller_madow(table):
    k = [(counts > 0).sum() for counts in entropies(table)]
    bias = (k[2] - k[0] - k[1] + 1) / (2 * table.sum() * math.log(2))
    return information(table) - bias


def grassberger(table):
    def entropy(counts):
        n = counts[counts > 0].astype(float)
        g = digamma(n) + (-1) ** n / 2 * (digamma((n + 1) / 2) - digamma(n / 2))
        return (math.log(n.sum()) - np.sum(n * g) / n.sum()) / math.log(2)

    x, y, both = map(entropy, entropies(table))
    return x + y - both


def chao_shen(table):
    def entropy(counts):
        n = counts[counts > 0].astype(float)
        total, once = n.sum(), (n == 1).sum()
        p = n / total * (1 - min(once, total - 1) / total)
        return -np.sum(p * np.log2(p) / (1 - (1 - p) ** total))

    x, y, both = map(entropy, entropies(table))
    return x + y - both


def jackknife(table):
    n = table.sum()
    left_out = 0.0
    for cell in zip(*np.nonzero(table), strict=True):
        fewer = table.copy()
        fewer[cell] -= 1
        left_out += table[cell] * information(fewer)
    return n * information(table) - (n - 1) / n * left_out


def labels(table):
    return [cell for cell in np.ndindex(table.shape) for _ in range(table[cell])]


def tabulated(cells, shape):
    table = np.zeros(shape)
    for cell in cells:
        table[cell] += 1
    return table


def extrapolation(table):
    def mean_of_subsamples(size):
        draws = itertools.combinations(labels(table), size)
        return np.mean([information(tabulated(cells, table.shape)) for cells in draws])

    n = table.sum()
    halves, quarters = mean_of_subsamples(n // 2), mean_of_subsamples(n // 4)
    return (8 * information(table) - 6 * halves + quarters) / 3


ORACLES = {
    PlugIn: information,
    MillerMadow: miller_madow,
    Grassberger: grassberger,
    ChaoShen: chao_shen,
    Jackknife: jackknife,
    Extrapolation: extrapolation,
}


@pytest.mark.parametrize("kind", ORACLES, ids=lambda kind: kind.__name__)
def test_against_the_definition(kind):
    assert np.isclose(kind()(jnp.array(TABLE)), ORACLES[kind](TABLE), atol=2e-5)


def test_shuffled_null_is_the_mean_over_permutations():
    table = np.array([[3, 1], [1, 2]])
    x, y = zip(*labels(table), strict=True)
    shuffles = [
        information(tabulated(zip(x, order, strict=True), (2, 2)))
        for order in itertools.permutations(y)
    ]
    expected = information(table) - np.mean(shuffles)
    assert np.isclose(ShuffledNull()(jnp.array(table)), expected, atol=2e-5)


@pytest.mark.parametrize(
    "row", [[5, 1, 1, 0, 0, 0], [2, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [40] * 6]
)
def test_relevant_columns_bring_the_expected_number_nearest_to_the_seen(row):
    n = np.array(row, float)
    total, seen = n.sum(), np.count_nonzero(n)

    def miss(unseen):
        share = 1 - (total / (total + seen)) ** (1 / total)
        p = np.where(n > 0, (1 - unseen * share) * (n + 1) / (total + seen), 0)
        expected = np.sum(np.where(n > 0, 1 - (1 - p) ** total, 0))
        return abs(expected + unseen * (1 - (1 - share) ** total) - seen)

    best = seen + min(range(len(row) - seen + 1), key=miss)
    assert _relevant(jnp.array([row]), jnp.array([len(row)]))[0] == best


@pytest.mark.parametrize(
    ("a", "b", "total"),
    [
        (5, 7, 16),
        (30, 8, 40),
        (750, 80, 1000),
        (90, 95, 100),
        (240, 2500, 10_000),
        (1, 1, 1),
        (0, 3, 9),
        (34, 5000, 10_000),
    ],
)
def test_hypergeometric_mean_summed_and_by_series(a, b, total):
    k = np.arange(max(0, a + b - total), min(a, b) + 1)
    log_weight = [
        math.lgamma(a + 1) - math.lgamma(j + 1) - math.lgamma(a - j + 1)
        + math.lgamma(total - a + 1) - math.lgamma(b - j + 1) - math.lgamma(total - a - b + j + 1)
        for j in k
    ]  # fmt: skip
    weight = np.exp(np.array(log_weight) - max(log_weight))
    mean = a * b / total
    terms = [j * math.log(j / mean) if j else 0.0 for j in k]
    expected = np.sum(weight * terms) / weight.sum() / mean if mean else 0.0
    found = _relative_mean(*(jnp.array(float(v)) for v in (a, b, total)))
    assert np.isclose(found, expected, atol=2e-6)


@each
def test_an_empty_table_says_nothing(estimator):
    empty = jnp.zeros((2, 3, 4), jnp.int32)
    assert jnp.all(estimator(empty) == 0) and jnp.all(estimator.bias(empty) == 0)


@each
@settings(max_examples=6, deadline=None)
@given(table=tables)
def test_laws(estimator, table):
    value = estimator(jnp.array(table))
    assert jnp.isfinite(value) and jnp.isfinite(estimator.bias(jnp.array(table)))
    assert value <= math.log2(3) + 1e-6
    shuffled = jnp.array(table)[jnp.array([2, 0, 1])][:, ::-1]
    assert jnp.isclose(estimator(shuffled), value, atol=1e-5)
    padded = jnp.pad(jnp.array(table), ((0, 2), (0, 3)))
    assert jnp.isclose(estimator(padded), value, atol=1e-5) or value == math.log2(3)


@each
def test_batches_are_tables_one_by_one_and_jit_changes_nothing(estimator, getkey):
    tables = jr.randint(getkey(), (2, 3, 4), 0, 7)
    together = jax.jit(estimator)(tables)
    assert jnp.allclose(together, jnp.stack([estimator(table) for table in tables]), atol=1e-6)


@each
def test_copies_are_worth_the_logarithm(estimator):
    value = estimator(jnp.eye(8, dtype=int) * 100)
    # A shuffled table is expected to show (8 - 1)^2 / (2 N ln 2) bits, and those are subtracted.
    slack = 0.05 if isinstance(estimator, ShuffledNull) else 1e-3
    assert 3 - slack <= value <= 3


@pytest.mark.parametrize("kind", list(ORACLES)[:-1], ids=lambda kind: kind.__name__)
def test_float32_keeps_the_digits_of_many_counts(kind, getkey):
    table = np.round(np.asarray(jr.dirichlet(getkey(), jnp.ones(64))) * 8e6).astype(np.int32)
    table = table.reshape(8, 8)
    assert np.isclose(kind()(jnp.array(table)), ORACLES[kind](table), atol=3e-6)


@pytest.fixture(scope="module")
def drawn():
    """Tables of a known distribution, 400 of them with 500 samples each, and its information."""
    rows, columns = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    p = np.exp(-0.1 * (rows - columns) ** 2)
    p /= p.sum()
    cells = jr.categorical(jr.key(0), jnp.log(p).ravel(), shape=(400, 500))
    counts = jax.vmap(lambda c: jnp.zeros(64, jnp.int32).at[c].add(1))(cells)
    return counts.reshape(400, 8, 8), information(p)


def test_corrections_leave_less_bias(drawn):
    counts, truth = drawn
    bias = {type(e): abs(float(jnp.mean(e(counts))) - truth) for e in ESTIMATORS}
    assert bias[PlugIn] > 0.04
    for kind in (MillerMadow, Grassberger, PanzeriTreves, Jackknife, Extrapolation):
        assert bias[kind] < bias[PlugIn] / 5
    for kind in (ChaoShen, ShuffledNull):
        assert bias[kind] < bias[PlugIn]


def test_the_estimated_bias_of_the_plug_in(drawn):
    counts, truth = drawn
    actual = jnp.mean(PlugIn()(counts)) - truth
    assert abs(jnp.mean(PlugIn().bias(counts)) / actual - 1) < 0.25


@pytest.mark.parametrize(
    "estimator", [Extrapolation(), Jackknife()], ids=lambda e: type(e).__name__
)
def test_coverage_of_the_standard_error(estimator, drawn):
    counts, truth = drawn
    off = jnp.abs(estimator(counts) - truth) / standard_error(counts)
    # Of a normal variable, 68.3% and 95.4%; 400 tables scatter by 2.3% and 1.1%.
    assert 0.60 < jnp.mean(off < 1) < 0.76
    assert 0.91 < jnp.mean(off < 2) < 0.99


def test_the_standard_error_of_independent_variables(getkey):
    """There the first-order variance vanishes, and what is left is that of the counts."""
    cells = jr.randint(getkey(), (300, 2000), 0, 64)
    counts = jax.vmap(lambda c: jnp.zeros(64, jnp.int32).at[c].add(1))(cells).reshape(300, 8, 8)
    ratio = jnp.mean(standard_error(counts)) / jnp.std(Jackknife()(counts))
    assert 0.8 < ratio < 1.3
