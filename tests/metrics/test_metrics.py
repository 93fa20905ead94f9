"""Scores against SciPy and plain loops, their laws, masks, extremes and bad input."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings, strategies as st

from jaxinfo import metrics as M

N, D = 12, 4
RNG = np.random.default_rng(0)
P, Q = (RNG.dirichlet(np.ones(D), size=N) for _ in range(2))
X, Y = RNG.normal(size=(2, N, D))
TARGET = RNG.integers(0, 2, size=(N, D)).astype(float)
ONE_HOT = np.eye(D)[RNG.integers(0, D, N)]
MASK = np.arange(N) % 3 != 1


def perplexity(p):
    return 2 ** scipy.stats.entropy(p, base=2)


def hoyer(x):
    return (math.sqrt(D) - np.abs(x).sum() / math.sqrt((x**2).sum())) / (math.sqrt(D) - 1)


def gini(x):
    """By its other definition: half the mean absolute difference over the mean."""
    x = np.abs(x)
    return np.abs(x[:, None] - x).mean() / (2 * x.mean())


# One score a row: the call, and the same for one row by SciPy or by hand.
ROWWISE = {
    "MSE": (functools.partial(M.measure_MSE, X, Y), lambda i: sum((X[i] - Y[i]) ** 2)),
    "BCE": (
        functools.partial(M.measure_BCE, P, TARGET),
        lambda i: -scipy.stats.bernoulli.logpmf(TARGET[i], P[i]).sum(),
    ),
    "CatNLL": (
        functools.partial(M.measure_CatNLL, P, ONE_HOT),
        lambda i: -math.log(P[i, ONE_HOT[i].argmax()]),
    ),
    "KLD": (functools.partial(M.measure_KLD, P, Q), lambda i: scipy.stats.entropy(Q[i], P[i])),
    "entropy": (
        functools.partial(M.measure_entropy, P),
        lambda i: scipy.stats.entropy(P[i], base=2),
    ),
    "sparsity": (
        functools.partial(M.measure_sparsity, X, 0.3),
        lambda i: sum(x > 0.3 for x in X[i]) / D,
    ),
    "hoyer": (functools.partial(M.measure_hoyer_sparsity, X), lambda i: hoyer(X[i])),
    "gini": (functools.partial(M.measure_gini_index, X), lambda i: gini(X[i])),
}


@pytest.mark.parametrize("name", ROWWISE)
def test_one_score_a_row(name, x64):
    score, oracle = ROWWISE[name]
    expected = np.array([oracle(i) for i in range(N)])
    column, mean, kept, kept_mean = jax.jit(
        lambda mask: (
            score(preserve_batch=True),
            score(preserve_batch=False),
            score(preserve_batch=True, mask=mask),
            score(preserve_batch=False, mask=mask),
        )
    )(MASK)
    assert column.shape == kept.shape == (N, 1) and mean.shape == kept_mean.shape == ()
    np.testing.assert_allclose(column[:, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(mean, expected.mean(), rtol=1e-9)
    np.testing.assert_allclose(kept[:, 0], expected * MASK, rtol=1e-9)
    np.testing.assert_allclose(kept_mean, expected[MASK].mean(), rtol=1e-9)
    np.testing.assert_allclose(score(preserve_batch=True), column, rtol=1e-9)
    assert np.isnan(score(preserve_batch=False, mask=np.zeros(N, bool)))


def test_perplexity_is_two_to_the_mean_entropy(x64):
    entropies = scipy.stats.entropy(P, base=2, axis=1)
    np.testing.assert_allclose(M.measure_perplexity(P), 2 ** entropies.mean())
    np.testing.assert_allclose(M.measure_perplexity(P, mask=MASK), 2 ** entropies[MASK].mean())
    column = M.measure_perplexity(P, True, mask=MASK)[:, 0]
    np.testing.assert_allclose(column, 2**entropies * MASK)
    np.testing.assert_allclose(M.measure_perplexity(np.full((1, 8), 1 / 8)), 8)


def test_accuracy_in_both_forms_of_the_target():
    expected = np.mean(P.argmax(1) == ONE_HOT.argmax(1))
    assert float(M.measure_ACC(P, ONE_HOT)) == pytest.approx(expected)
    assert float(M.measure_ACC(P, ONE_HOT.argmax(1))) == pytest.approx(expected)
    kept = np.mean((P.argmax(1) == ONE_HOT.argmax(1))[MASK])
    assert float(M.measure_ACC(P, ONE_HOT, mask=MASK)) == pytest.approx(kept)
    assert float(M.measure_ACC(np.zeros((2, 3)), np.array([0, 1]))) == 0.5  # ties: the first


def pearson(a, b):
    return np.array([np.corrcoef(a[:, j], b[:, j])[0, 1] for j in range(a.shape[1])])


def cka(a, b):
    """By the centred Gram matrices, as it is defined for kernels."""
    n = len(a)
    centre = np.eye(n) - 1 / n
    k, l = (centre @ x @ x.T @ centre for x in (a, b))
    return np.sum(k * l) / math.sqrt(np.sum(k * k) * np.sum(l * l))


def test_similarities(x64):
    @jax.jit
    def both(a, b, mask):
        return M.measure_Pearson_correlation(a, b, mask=mask), M.measure_linear_CKA(a, b, mask=mask)

    everything = np.ones(N, bool)
    for mask in (everything, MASK):
        correlation, alignment = both(X, Y, mask)
        np.testing.assert_allclose(correlation, pearson(X[mask], Y[mask]), rtol=1e-9)
        np.testing.assert_allclose(alignment, cka(X[mask], Y[mask]), rtol=1e-9)
    np.testing.assert_allclose(both(X, Y, everything)[1], M.measure_linear_CKA(X, Y))
    wide = np.random.default_rng(1).normal(size=(N, 40))  # more features than examples
    np.testing.assert_allclose(M.measure_linear_CKA(X, wide), cka(X, wide), rtol=1e-9)
    for found in both(X, Y, np.zeros(N, bool)):  # nobody responds
        np.testing.assert_array_equal(found, 0)


def test_cka_is_blind_to_rotation_shift_and_scale_and_sees_the_rest(x64):
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(D, D)))
    np.testing.assert_allclose(M.measure_linear_CKA(X, -7 * X @ rotation + 3), 1, rtol=1e-12)
    value = M.measure_linear_CKA(X, Y)
    np.testing.assert_allclose(M.measure_linear_CKA(5 * X @ rotation - 1, Y), value, rtol=1e-9)
    np.testing.assert_allclose(M.measure_linear_CKA(Y, X), value, rtol=1e-12)
    assert 0 < value < 1
    stretched = X * np.array([1.0, 1.0, 1.0, 100.0])  # not a scale of the whole
    assert M.measure_linear_CKA(X, stretched) < 0.9


CONSTANT = np.full((7, 1), 0.1, np.float32)
RISING = np.arange(7, dtype=np.float32)[:, None]


@pytest.mark.parametrize("a, b", [(CONSTANT, RISING), (CONSTANT, 3 * CONSTANT), (RISING, CONSTANT)])
def test_a_constant_column_correlates_with_nothing(a, b):
    """Also where its mean is rounded: 7 times 0.1 is not 0.7."""

    @jax.jit
    def all_of(a, b):
        slopes = [
            jax.grad(lambda a, f=f: jnp.sum(f(a, b)))(a)
            for f in (M.measure_Pearson_correlation, M.measure_linear_CKA)
        ]
        return M.measure_Pearson_correlation(a, b), M.measure_linear_CKA(a, b), *slopes

    r, alignment, *slopes = all_of(a, b)
    assert r[0] == alignment == 0
    assert all(np.all(np.isfinite(slope)) for slope in slopes)
    if a is CONSTANT:
        np.testing.assert_array_equal(slopes[0], 0)


@pytest.mark.parametrize("size, shift", [(1e-30, 0), (1.0, 1e5), (3e37, 0), (1e37, 2e38)])
def test_similarities_at_the_extremes_of_float32(size, shift):
    values = np.random.default_rng(3).uniform(-1, 1, size=(9, 2))
    a, b = (np.float32(v * size + shift) for v in (values, values[:, ::-1] + values))
    exact = a.astype(np.float64), b.astype(np.float64)  # what float32 holds, computed in double
    np.testing.assert_allclose(M.measure_Pearson_correlation(a, b), pearson(*exact), atol=2e-5)
    np.testing.assert_allclose(M.measure_linear_CKA(a, b), cka(*exact), rtol=1e-4)


def test_opposite_ends_of_float32_have_a_finite_difference():
    a = np.array([[3e38], [-3e38], [3e38], [-3e38]], np.float32)
    np.testing.assert_allclose(M.measure_Pearson_correlation(a, a / 3e38), [1.0], rtol=1e-6)
    np.testing.assert_allclose(M.measure_linear_CKA(a, a), 1.0, rtol=1e-6)


@pytest.mark.parametrize("size", [2e-38, 1.0, 3e38])
def test_sparsity_of_known_codes_at_any_size(size):
    codes = np.float32(size) * np.array([[0, 0, -1, 0], [1, 1, -1, 1], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(M.measure_hoyer_sparsity(codes, True)[:, 0], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(M.measure_gini_index(codes)[:, 0], [0.75, 0, 0], atol=1e-6)


codes = st.lists(
    st.lists(st.floats(-100, 100, width=32), min_size=5, max_size=5), min_size=3, max_size=3
)


@given(codes, st.permutations(range(5)))
@settings(max_examples=60, deadline=None)
def test_bounds_and_symmetries_of_sparsity(rows, order):
    x = np.array(rows, np.float32)
    h, g = M.measure_hoyer_sparsity(x, True), M.measure_gini_index(x)
    assert np.all((h >= -1e-5) & (h <= 1 + 1e-5)) and np.all((g >= -1e-5) & (g <= 0.8 + 1e-5))
    moved = -x[:, order]
    np.testing.assert_allclose(M.measure_hoyer_sparsity(moved, True), h, atol=2e-5)
    np.testing.assert_allclose(M.measure_gini_index(moved), g, atol=2e-5)


def rand_by_pairs(a, b):
    """Adjusted Rand index from its definition: agreement over all pairs, beyond chance."""
    pairs = list(itertools.combinations(range(len(a)), 2))
    same_a = np.array([a[i] == a[j] for i, j in pairs])
    same_b = np.array([b[i] == b[j] for i, j in pairs])
    both, chance = np.mean(same_a & same_b), np.mean(same_a) * np.mean(same_b)
    most = (np.mean(same_a) + np.mean(same_b)) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def information_by_counting(a, b):
    h = [scipy.stats.entropy(np.unique(x, return_counts=True)[1]) for x in (a, b)]
    joint = scipy.stats.entropy(np.unique(np.stack([a, b]), axis=1, return_counts=True)[1])
    return 1.0 if sum(h) == 0 else 2 * (sum(h) - joint) / sum(h)


agreement = jax.jit(
    lambda a, b, mask: (M.measure_ARI(a, b, 4, mask=mask), M.measure_NMI(a, b, 4, mask=mask))
)
labels = st.lists(st.integers(0, 3), min_size=10, max_size=10)


@given(labels, labels, st.lists(st.booleans(), min_size=10, max_size=10), st.permutations(range(4)))
@settings(max_examples=150, deadline=None)
def test_agreement_of_labellings(a, b, mask, names):
    a, b, mask, names = np.array(a), np.array(b), np.array(mask), np.array(names)
    mask[:2] = True
    ari, nmi = agreement(a, b, mask)
    np.testing.assert_allclose(ari, rand_by_pairs(a[mask], b[mask]), atol=2e-6)
    np.testing.assert_allclose(nmi, information_by_counting(a[mask], b[mask]), atol=3e-6)
    assert 0 <= nmi <= 1
    np.testing.assert_allclose(agreement(names[a], b, mask), (ari, nmi), atol=3e-6)
    np.testing.assert_allclose(agreement(b, a, mask), (ari, nmi), atol=3e-6)
    np.testing.assert_allclose(agreement(a, names[a], mask), (1, 1), atol=1e-6)


def test_labels_outside_do_not_count_and_types_do_not_matter():
    a, b = np.array([0, 1, 1, 0, -1, 7]), np.array([1, 1, 0, 0, 0, 1])
    for f in (jax.jit(g, static_argnums=2) for g in (M.measure_ARI, M.measure_NMI)):
        inside = f(a[:4], b[:4], 2)
        np.testing.assert_allclose(f(a, b, 2), inside, rtol=1e-6)
        np.testing.assert_allclose(f(a, b, 2, mask=np.arange(6) < 4), inside, rtol=1e-6)
        for dtype in (np.int8, np.uint8, np.int64):  # 101 x 101 cells are more than a byte counts
            far = np.array([0, 100, 100, 3], dtype)
            np.testing.assert_allclose(f(far, far, 101), 1, rtol=1e-6)
        assert float(f(a[:0], b[:0], 2)) == float(f(a, b, 2, mask=np.zeros(6, bool))) == 1
        assert float(f(a[:1], b[:1], 2)) == 1
        with pytest.raises(ValueError, match="between 1 and 46340"):
            f(a, b, 50_000)


def test_large_tables_keep_their_digits():
    """A million examples: pairs of them are beyond what float32 counts."""
    a = np.repeat([0, 1], 500_000)
    b = np.where(np.arange(1_000_000) % 4 == 0, 1 - a, a)
    p, q = 0.375, 0.125
    shared = 1 - scipy.stats.entropy([p, p, q, q], base=2) + 1
    np.testing.assert_allclose(M.measure_NMI(a, b, 2), shared, atol=1e-5)
    np.testing.assert_allclose(M.measure_ARI(a, b, 2), 0.25, atol=1e-5)


@pytest.mark.parametrize(
    "dtype", (np.uint8, np.int8, np.uint16, np.int16, np.float16, jnp.bfloat16)
)
def test_narrow_numbers_are_the_numbers_that_they_are(dtype):
    low, high = (0, 255) if np.dtype(dtype).kind in "uf" or dtype is jnp.bfloat16 else (-100, 100)
    a, b = np.array([[low, high], [1, 2]]), np.array([[high, low], [3, high]])
    expected = ((a - b) ** 2).sum(1).mean()
    found = M.measure_MSE(jnp.asarray(a, dtype), jnp.asarray(b, dtype))
    np.testing.assert_allclose(float(found), expected, rtol=1e-2)
    codes = np.array([[0, 3, 1, 0], [5, 5, 5, 5]])
    for score in (M.measure_gini_index, M.measure_hoyer_sparsity, M.measure_sparsity):
        wide = score(jnp.asarray(codes, jnp.float32))
        np.testing.assert_allclose(
            np.asarray(score(jnp.asarray(codes, dtype)), float), wide, rtol=1e-2
        )


def test_not_a_number_is_no_class_no_sparsity_and_no_divergence():
    wrong = jnp.full((4, 3), jnp.nan)
    assert not float(M.measure_ACC(wrong, jnp.zeros(4, int))) > 0
    one_wrong = jnp.array([[0.9, 0.1], [jnp.nan, 0.2], [0.3, 0.7]])
    found = float(M.measure_ACC(one_wrong, jnp.array([0, 0, 1])))
    assert np.isnan(found) or found == pytest.approx(2 / 3)
    codes = jnp.array([[jnp.nan, 1.0], [0.0, 1.0]])
    np.testing.assert_array_equal(np.ravel(M.measure_sparsity(codes)), [np.nan, 0.5])
    guess = np.array([[0.5, 0.5]], np.float32)
    for truth in ([0.25, 0.75], [0.0, 1.0], [np.nan, 1.0], [-1.0, 1.0]):
        truth = np.array([truth], np.float32)
        expected, found = scipy.special.rel_entr(truth, guess).sum(), M.measure_KLD(guess, truth)
        if np.isfinite(expected):
            np.testing.assert_allclose(found, expected, rtol=1e-5)
        else:
            assert not np.isfinite(found)


def test_firing_rates_and_fano_factors():
    spikes = np.array([[1, 0, 2], [1, 0, 0], [1, 0, 4], [1, 0, 2]])
    rate, fano = jax.jit(lambda s: (M.measure_firingRate(s, True), M.measure_fanoFactor(s, True)))(
        spikes
    )
    np.testing.assert_allclose(rate, [[1, 0, 2]])
    np.testing.assert_allclose(fano, [[0, 0, 1]])
    assert float(M.measure_firingRate(spikes)) == 1.0
    np.testing.assert_allclose(M.measure_fanoFactor(spikes), 1 / 3, rtol=1e-6)
    np.testing.assert_array_equal(M.measure_firingRate(spikes > 0, True), [[1, 0, 0.75]])
    poisson = np.random.default_rng(0).poisson(3.0, (20_000, 4))
    factors = M.measure_fanoFactor(poisson, True)
    assert np.all(np.abs(factors - 1) < 6 * (2 / 20_000) ** 0.5)
    regular = np.tile([[0], [1]], (500, 1))  # fires every other step: 1/4 over 1/2
    np.testing.assert_allclose(M.measure_fanoFactor(regular), 0.5, rtol=1e-6)


def test_likelihoods_at_their_ends():
    """Zeros and ones, in single and half precision: finite by the offset, whatever it is."""
    p, x = np.array([[0.0, 1.0, 0.0, 1.0]]), np.array([[0.0, 1.0, 1.0, 0.0]])
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        for offset in (1e-7, 1e-4):
            found = M.measure_BCE(jnp.asarray(p, dtype), x, offset)
            expected = -2 * (math.log(offset) + math.log1p(-offset))
            np.testing.assert_allclose(found.astype(jnp.float32), expected, rtol=1e-2)
    assert float(M.measure_BCE(p[:, :2], x[:, :2], 0.0)) == 0
    assert float(M.measure_BCE(p, x, 0.0)) == float(M.measure_CatNLL(p, x, 0.0)) == math.inf
    assert float(M.measure_KLD(np.array([[0.0, 1.0]]), np.array([[0.5, 0.5]]))) == math.inf
    assert float(M.measure_KLD(np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]]))) == 0
    assert str(M.measure_entropy(np.eye(3))) == "0.0"  # and not -0.0


def test_gradients_are_the_slopes_and_finite_at_zero(x64):
    def total(a, b):
        p, q = jax.nn.softmax(a), jax.nn.softmax(b)
        return {
            "MSE": M.measure_MSE(a, b),
            "BCE": M.measure_BCE(jax.nn.sigmoid(a), TARGET),
            "CatNLL": M.measure_CatNLL(p, ONE_HOT),
            "KLD": M.measure_KLD(p, q),
            "entropy": M.measure_entropy(p),
            "perplexity": M.measure_perplexity(p),
            "hoyer": M.measure_hoyer_sparsity(a),
            "gini": M.measure_gini_index(a, False),
            "pearson": M.measure_Pearson_correlation(a, b).sum(),
            "CKA": M.measure_linear_CKA(a, b),
            "rate": M.measure_firingRate(a),
            "fano": M.measure_fanoFactor(jnp.abs(a)),
        }

    a_dir, b_dir = np.random.default_rng(4).normal(size=(2, N, D))

    @jax.jit
    def both(a, b):
        values, forward = jax.jvp(total, (a, b), (a_dir, b_dir))
        return values, forward, jax.jacrev(total, (0, 1))(a, b)

    _, forward, backward = both(X, Y)
    h = 1e-6
    above, below = (both(X + s * h * a_dir, Y + s * h * b_dir)[0] for s in (1, -1))
    for name, slope in forward.items():
        steps = (above[name] - below[name]) / (2 * h)
        np.testing.assert_allclose(slope, steps, rtol=1e-5, atol=1e-8, err_msg=name)
        turned = sum(np.sum(g * d) for g, d in zip(backward[name], (a_dir, b_dir), strict=True))
        np.testing.assert_allclose(turned, slope, rtol=1e-7, atol=1e-12, err_msg=name)
    zeros = np.zeros((N, D))
    for name, gradients in both(zeros, zeros)[2].items():
        assert np.all(np.isfinite(gradients)), name


def test_what_is_outside_the_mask_reaches_nothing():
    """Padding may hold anything: the gradient is that of the examples that count, and 0 there."""
    mask = np.array([True, True, False, False])
    padded = np.float32([[0.3, 0.7], [0.9, 0.1], [np.nan, np.inf], [-np.inf, 0]])
    fixed = np.float32([[0.2, 0.8], [0.6, 0.4], [0, np.nan], [np.inf, 1]])

    def scores(a, b, mask):
        return [
            M.measure_MSE(a, b, mask=mask),
            M.measure_BCE(a, b, mask=mask),
            M.measure_CatNLL(a, b, mask=mask),
            M.measure_KLD(a, b, mask=mask),
            M.measure_entropy(a, mask=mask),
            M.measure_perplexity(a, mask=mask),
            M.measure_hoyer_sparsity(a, mask=mask),
            M.measure_gini_index(a, False, mask=mask),
            M.measure_sparsity(a, 0.0, False, mask=mask),
            M.measure_Pearson_correlation(a, b, mask=mask).sum(),
            M.measure_linear_CKA(a, b, mask=mask),
        ]

    both = jax.jit(lambda a, b, mask: (scores(a, b, mask), jax.jacrev(scores)(a, b, mask)))
    values, gradients = both(padded, fixed, mask)
    clean = both(*(np.where(mask[:, None], x, 0.5) for x in (padded, fixed)), mask)
    np.testing.assert_array_equal(values, clean[0])
    for gradient, other in zip(gradients, clean[1], strict=True):
        np.testing.assert_array_equal(gradient[2:], 0)
        np.testing.assert_array_equal(gradient, other)


def test_vmap_is_a_loop():
    a, b = np.float32(np.stack([X, Y, X * Y])), np.float32(np.stack([Y, X * Y, X]))

    def all_of(a, b):
        return [
            M.measure_MSE(a, b, True),
            M.measure_hoyer_sparsity(a),
            M.measure_Pearson_correlation(a, b),
            M.measure_linear_CKA(a, b),
            M.measure_NMI((a[:, 0] > 0).astype(int), (b[:, 0] > 0).astype(int), 2),
        ]

    together, one = jax.jit(jax.vmap(all_of))(a, b), jax.jit(all_of)
    for i in range(3):
        for x, y in zip(together, one(a[i], b[i]), strict=True):
            np.testing.assert_allclose(x[i], y, rtol=1e-5, atol=1e-6)


def test_wrong_shapes_are_refused_and_never_broadcast():
    """Without the type checker of these tests too."""
    from jaxtyping import config

    bad = {
        "one row": (X, Y[:1]),
        "a vector": (X, Y[0]),
        "columns": (X, Y[:, :2]),
        "a batch of matrices": (X[None], Y[None]),
    }
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    try:
        for name, (a, b) in bad.items():
            fs = [M.measure_MSE, M.measure_BCE, M.measure_CatNLL, M.measure_KLD]
            for f in (*fs, M.measure_Pearson_correlation, M.measure_ACC):
                if f is M.measure_ACC and name == "a vector":
                    a, b = a, b[:3]
                with pytest.raises(ValueError, match="must be an array|Expected arrays of shape"):
                    f(a, b)
        with pytest.raises(ValueError, match="Here n = 12, as in `a`|as many examples in all"):
            M.measure_linear_CKA(X, Y[:5])
        with pytest.raises(ValueError, match="`mask` must"):
            M.measure_entropy(P, mask=MASK[:5])
        with pytest.raises(ValueError, match="Here n = 3, as in|the same length"):
            M.measure_NMI(np.zeros(3, int), np.zeros(2, int), 2)
        with pytest.raises(ValueError, match="at least two entries"):
            M.measure_hoyer_sparsity(np.ones((2, 1)))
    finally:
        config.update("jaxtyping_disable", before)
