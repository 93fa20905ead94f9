"""Exact enumeration: Cover's count, brute force, linear programs, degenerate data."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linprog

from jaxinfo.patterns import enumerate_patterns, num_patterns
from jaxinfo.patterns._exact import ExactSigns, independent_columns, primitive_rows


def as_set(patterns):
    columns = list(map(tuple, np.asarray(patterns.unpack(int)).T.tolist()))
    assert len(columns) == len(set(columns))
    return set(columns)


def by_linear_programs(X, strict):
    """All patterns, by asking a linear program about each of the 2^n candidates."""
    found = set()
    for bits in itertools.product((0, 1), repeat=len(X)):
        on = np.array(bits, bool)
        # By scaling w: the open half-spaces at distance 1, the closed ones at 0.
        A = np.where(on[:, None], -X, X)
        closed = ~on if strict else on
        if linprog(
            np.zeros(X.shape[1]), A, np.where(closed, 0.0, -1.0), bounds=(None, None)
        ).success:
            found.add(bits)
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 12])
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_cover(n, rank):
    X = np.random.default_rng(10 * n + rank).normal(size=(n, rank))
    X[:, 0] = np.abs(X[:, 0])  # in an open half-space, so w = 0 adds nothing
    found = enumerate_patterns(X)
    assert len(as_set(found)) == found.p == num_patterns(n, rank)
    assert as_set(enumerate_patterns(X, strict=True)) == as_set(found)
    affine = enumerate_patterns(X[:, 1:], bias=True)
    assert affine.p == num_patterns(n, rank)  # the ones take the place of the column left out


def test_counts():
    assert [num_patterns(n, 1) for n in (1, 2, 9)] == [2, 2, 2]
    assert [num_patterns(n, n) for n in (1, 2, 9)] == [2, 4, 512]
    assert num_patterns(5, 0) == 0
    assert num_patterns(10_000, 3) == 2 * (1 + 9999 + 9999 * 9998 // 2)
    for bad in ((0, 1), (3, -1)):
        with pytest.raises(ValueError, match="at least"):
            num_patterns(*bad)


small_integers = st.tuples(st.integers(1, 6), st.integers(1, 4)).flatmap(
    lambda shape: hnp.arrays(np.int64, shape, elements=st.integers(-2, 2))
)


@settings(max_examples=40, deadline=None)
@given(small_integers, st.booleans(), st.booleans())
def test_degenerate_integers_against_linear_programs(X, strict, bias):
    with_ones = np.c_[X, np.ones(len(X))] if bias else X
    found = enumerate_patterns(X, bias=bias, strict=strict)
    assert as_set(found) == by_linear_programs(with_ones, strict)


DEGENERATE = {
    "zero": np.zeros((3, 2)),
    "one row": np.array([[1.0, 2.0]]),
    "repeated": np.array([[1.0, 2], [2, 4], [0.5, 1], [-1, 0]]),
    "antipodal": np.array([[1.0, 2], [-1, -2], [3, 1], [-6, -2]]),
    "collinear": np.array([[1.0, 0, 1], [1, 1, 1], [1, 2, 1], [1, 3, 1], [0, 1, 5]]),
    "cube": np.array(list(itertools.product((-1.0, 1.0), repeat=3))),
    "lower rank": np.outer(np.arange(1, 6), [1.0, 2, 3]) + np.outer([1, 0, 2, 0, 1], [0, 1.0, 1]),
    "tiny and huge": np.array([[1e-200, 1e-200], [1e200, 1e200], [1e-300, -1e300], [1.0, 2.0]]),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("strict", [False, True])
def test_degenerate_data(name, strict):
    X = DEGENERATE[name]
    found = as_set(enumerate_patterns(X, strict=strict))
    if name == "tiny and huge":  # too much for a linear program: scale the rows by hand
        X = np.array([[1.0, 1], [1, 1], [0, -1], [1, 2]])
        X = X + np.array([[0, 0], [0, 0], [1e-9, 0], [0, 0]])
    assert found == by_linear_programs(X, strict)


@pytest.mark.parametrize("seed", range(3))
def test_more_than_sampling_finds(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(9, 3))
    X[4] = X[0] + X[1]
    X[5] = X[0] - 2 * X[1]
    product = X @ rng.normal(size=(3, 20_000))
    sampled = set(map(tuple, (product >= 0).astype(int).T.tolist()))
    found = as_set(enumerate_patterns(X))
    assert sampled <= found


def test_signs_that_rounding_changes():
    """Rows in a plane up to the last bit of their numbers: rounding cannot tell, integers can."""
    rng = np.random.default_rng(5)
    a, b = rng.integers(-(2**40), 2**40, (2, 3)).astype(np.float64)
    on_plane = np.array([a, b, a + b, a - b, 3 * a + 5 * b])
    above = on_plane.copy()
    above[2, 2] += 2.0**-11  # the last bit of numbers of this size
    others = rng.integers(-(2**40), 2**40, (2, 3)).astype(np.float64)
    flat, bent = (enumerate_patterns(np.concatenate([x, others])) for x in (on_plane, above))
    assert flat.p < bent.p
    # The same arrangements in small integers.
    small = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, -1, 0], [3, 5, 0]])
    coordinates = np.linalg.solve(np.stack([a, b, np.cross(a / 1e12, b / 1e12)]).T, others.T).T
    assert flat.p == enumerate_patterns(np.concatenate([small, coordinates])).p


@pytest.mark.parametrize("scale", [1.0, 2.0**-30, 3.0])
def test_patterns_do_not_depend_on_scale(scale):
    X = np.array([[1, 2], [2, 4], [3, -1], [0, 0], [-1, 5]])
    rows = scale * np.arange(1, 6)[:, None]
    assert as_set(enumerate_patterns(X * rows)) == as_set(enumerate_patterns(X))


def test_float32_data_is_taken_as_it_is():
    X = np.array([[0.1, 0.3], [0.2, 0.6], [1.0, -1.0]], np.float32)
    doubled = X.astype(np.float64)
    assert as_set(enumerate_patterns(jax.numpy.asarray(X))) == as_set(enumerate_patterns(doubled))


def test_more_examples_than_a_word():
    X = np.random.default_rng(0).normal(size=(40, 2))
    found = enumerate_patterns(X)
    assert found.shape[0] == 40
    assert found.p in (num_patterns(40, 2), num_patterns(40, 2) + 1)
    angles = np.linspace(0, 2 * np.pi, 100_000)
    product = X @ np.stack([np.cos(angles), np.sin(angles)])
    assert set(map(tuple, (product >= 0).astype(int).T.tolist())) <= as_set(found)


def test_refusal_states_the_count():
    X = np.random.default_rng(0).normal(size=(200, 10))
    with pytest.raises(ValueError, match=str(num_patterns(200, 10))):
        enumerate_patterns(X)
    with pytest.raises(ValueError, match="`limit` is 3"):
        enumerate_patterns(X[:5, :2], limit=3)


def test_progress_is_reported():
    seen = []
    enumerate_patterns(
        np.random.default_rng(0).normal(size=(8, 3)), progress=lambda *now: seen.append(now)
    )
    assert seen[-1] == (28, 28)


@pytest.mark.parametrize(
    ("X", "message"),
    [(np.array([[np.nan, 1.0]]), "finite"), (np.array([[np.inf, 1.0]]), "finite")],
)
def test_bad_data(X, message):
    with pytest.raises(ValueError, match=message):
        enumerate_patterns(X)


def test_not_under_jit():
    with pytest.raises(TypeError, match="on the host"):
        jax.jit(enumerate_patterns)(np.ones((2, 2)))


def test_exact_linear_algebra():
    X = np.array([[0.0, 0.5, 0.25], [0, -3, -1.5], [0, 1, 7]])
    rows = primitive_rows(X)
    assert rows.tolist() == [[0, 2, 1], [0, -2, -1], [0, 1, 7]]
    assert independent_columns(rows) == [1, 2]
    pairs = np.array(list(itertools.combinations(range(5), 2)))
    rng = np.random.default_rng(0)
    for size in (5, 2**60):  # certain in float64, and not
        M = np.array([[int(v) for v in row] for row in rng.integers(-size, size, (5, 3))], object)
        M[3] = M[0] + M[1]
        signs = ExactSigns(M).signs(pairs)
        for pair, row in zip(pairs, signs, strict=True):
            (a, b, c), (d, e, f) = M[pair]
            normal = (b * f - c * e, c * d - a * f, a * e - b * d)
            exact = [sum(x * v for x, v in zip(r, normal, strict=True)) for r in M]
            assert row.tolist() == [(v > 0) - (v < 0) for v in exact]
