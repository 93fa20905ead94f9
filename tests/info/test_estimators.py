"""Estimators: their definitions, brute-force oracles, laws, and less bias than the plug-in."""

import itertools
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from conftest import load_golden
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import digamma

from jaxinfo.info import (
    Binning,
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
from jaxinfo.info._counting import count_pairs
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
NAMES = [type(estimator).__name__ for estimator in ESTIMATORS]


@jax.jit
def values_and_biases(counts):
    """Of every estimator at once: one compilation for each shape."""
    return [(estimator(counts), estimator.bias(counts)) for estimator in ESTIMATORS]


def of_each(counts):
    """`(estimator, values, biases)` of every estimator."""
    return [(e, *found) for e, found in zip(ESTIMATORS, values_and_biases(counts), strict=True)]


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


def test_an_empty_table_says_nothing():
    for _, value, bias in of_each(jnp.zeros((2, 3, 4), jnp.int32)):
        assert jnp.all(value == 0) and jnp.all(bias == 0)


@settings(max_examples=10, deadline=None)
@given(table=tables)
def test_laws(table):
    """Bounds; the order of rows and of columns, and cells that cannot be reached, say nothing."""
    shuffled = table[[2, 0, 1]][:, ::-1]
    padded = jnp.pad(jnp.array(table), ((0, 2), (0, 3)))
    found = of_each(jnp.stack([table, shuffled]))
    for (_, (value, again), bias), (_, wider, _) in zip(found, of_each(padded), strict=True):
        assert jnp.isfinite(value) and jnp.all(jnp.isfinite(bias))
        assert value <= math.log2(3) + 1e-6
        assert jnp.isclose(again, value, atol=1e-5)
        assert jnp.isclose(wider, value, atol=1e-5) or jnp.isclose(value, math.log2(3))


def test_batches_are_tables_one_by_one_and_jit_changes_nothing(getkey):
    tables = jr.randint(getkey(), (2, 3, 4), 0, 7)
    for estimator, together, _ in of_each(tables):
        oracle = ORACLES.get(type(estimator))
        by_definition = oracle is not None and oracle is not extrapolation  # of too many subsets
        alone = oracle(np.asarray(tables[1])) if by_definition else estimator(tables[1])
        assert jnp.isclose(together[1], alone, atol=2e-5)


@pytest.mark.parametrize("kind", list(ORACLES)[:-1], ids=lambda kind: kind.__name__)
def test_float32_keeps_the_digits_of_many_counts(kind, getkey):
    table = np.round(np.asarray(jr.dirichlet(getkey(), jnp.ones(64))) * 8e6).astype(np.int32)
    table = table.reshape(8, 8)
    assert np.isclose(kind()(jnp.array(table)), ORACLES[kind](table), atol=3e-6)


@pytest.fixture(scope="module")
def drawn():
    """Tables of a known distribution, 400 of them with 500 samples each, and its information.

    What every estimator says of them, and of eight values copied faithfully, comes with them.
    """
    rows, columns = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    p = np.exp(-0.1 * (rows - columns) ** 2)
    p /= p.sum()
    cells = jr.categorical(jr.key(0), jnp.log(p).ravel(), shape=(400, 500))
    counts = jax.vmap(lambda c: jnp.zeros(64, jnp.int32).at[c].add(1))(cells)
    counts = jnp.concatenate([counts.reshape(400, 8, 8), 100 * jnp.eye(8, dtype=jnp.int32)[None]])
    found = dict(zip(NAMES, values_and_biases(counts), strict=True))
    return counts[:-1], information(p), found


def test_copies_are_worth_the_logarithm(drawn):
    for name, (values, _) in drawn[2].items():
        # A shuffled table is expected to show (8 - 1)^2 / (2 N ln 2) bits, which are subtracted.
        slack = 0.05 if name == "ShuffledNull" else 1e-3
        assert 3 - slack <= values[-1] <= 3


def test_corrections_leave_less_bias(drawn):
    _, truth, found = drawn
    bias = {name: abs(float(jnp.mean(values[:-1])) - truth) for name, (values, _) in found.items()}
    assert bias["PlugIn"] > 0.04
    for name in ("MillerMadow", "Grassberger", "PanzeriTreves", "Jackknife", "Extrapolation"):
        assert bias[name] < bias["PlugIn"] / 5
    for name in ("ChaoShen", "ShuffledNull"):
        assert bias[name] < bias["PlugIn"]


def test_the_estimated_bias(drawn):
    """Of the plug-in to a quarter; of the others at most what they leave and a tenth of that."""
    _, truth, found = drawn
    plug_in = jnp.mean(found["PlugIn"][0][:-1]) - truth
    assert abs(jnp.mean(found["PlugIn"][1][:-1]) / plug_in - 1) < 0.25
    for values, bias in found.values():
        assert abs(jnp.mean(values[:-1] - bias[:-1]) - truth) < plug_in / 4


def test_coverage_of_the_standard_error(drawn):
    """Intervals of nominal 95% and 68%, for each estimator that leaves little bias."""
    counts, truth, found = drawn
    errors = jax.jit(standard_error)(counts)
    for name in ("Extrapolation", "Jackknife", "PanzeriTreves", "MillerMadow", "Grassberger"):
        off = jnp.abs(found[name][0][:-1] - truth) / errors
        # 400 tables scatter by 2.3% and 1.1%.
        assert 0.60 < jnp.mean(off < 1) < 0.76
        assert 0.90 < jnp.mean(off < 1.96) < 0.99


def test_mean_errors_a_pair_are_those_of_the_golden_study():
    """A sigmoid layer of 20 inputs, 10 outputs and 16 bins, with 10 000 samples.

    The study (`golden/deep_ei/studies.json`, another layer of the kind) has, in units of 1e-4 bits,
    120 for the plug-in, 46 for Chao-Shen, 16 for Miller-Madow, and less than 7 for the others.
    """
    cases, data = load_golden("deep_ei")
    case = next(case for case in cases if case["id"] == "sig20x10.parts")
    weight, bias = data["sig20x10.0.weight"], data["sig20x10.0.bias"]
    x = jr.uniform(jr.key(0), (10_000, 20))
    binning = Binning(16, 0.0, 1.0)
    y = jax.nn.sigmoid(x @ weight.T + bias)
    counts = count_pairs(binning.index(x), binning.index(y), 16, 16).reshape(200, 16, 16)
    truth = case["reference"]["exact"]["value"]
    error = {
        name: float(jnp.sum(values) - truth) / 200 * 1e4
        for name, (values, _) in zip(NAMES, values_and_biases(counts), strict=True)
    }
    expected = case["reference"]["exact"]["expected_plugin"]["10000"]
    assert math.isclose(error["PlugIn"], (expected - truth) / 200 * 1e4, abs_tol=5)
    assert 110 < error["PlugIn"] < 150 and 30 < error["ChaoShen"] < 70
    assert 10 < error["MillerMadow"] < 25
    for name in ("ShuffledNull", "Grassberger", "Jackknife", "PanzeriTreves", "Extrapolation"):
        assert abs(error[name]) < 10


def test_the_standard_error_of_independent_variables(getkey):
    """There the first-order variance vanishes, and what is left is that of the counts."""
    cells = jr.randint(getkey(), (300, 2000), 0, 64)
    counts = jax.vmap(lambda c: jnp.zeros(64, jnp.int32).at[c].add(1))(cells).reshape(300, 8, 8)
    errors, values = jax.jit(lambda c: (standard_error(c), Jackknife()(c)))(counts)
    ratio = jnp.mean(errors) / jnp.std(values)
    assert 0.8 < ratio < 1.3


def test_a_table_with_a_negative_count_is_no_table():
    for _, value, _ in of_each(jnp.array([[-1, -1], [5, 5]])):
        assert jnp.isnan(value)
