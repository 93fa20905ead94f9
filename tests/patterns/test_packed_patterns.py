"""Packed patterns, distinct ones, and distances: against NumPy on the 0/1 matrix."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from jaxinfo.patterns import (
    DistinctPatterns,
    PackedPatterns,
    activation_patterns,
    compute_activation_patterns,
    coverage,
    hamming_distances,
    nearest_patterns,
    sample_convolutional_gates,
    sample_dense_gates,
    sample_sparse_gates,
    unique_patterns,
)
from jaxinfo.patterns._activation import as_data_and_gates

SHAPES = [(1, 1), (31, 3), (32, 3), (33, 40), (0, 4), (5, 0)]
# Of one size and with at most four distinct patterns, so that few programs are compiled. Two of the
# patterns differ in one bit of the last word; one is all zeros.
_FOUR = np.stack([np.arange(40) % 3 == 0] * 2 + [np.zeros(40, bool), np.arange(40) > 30], axis=1)
_FOUR[39, 1] ^= True
matrices = hnp.arrays(np.int64, 12, elements=st.integers(0, 3)).map(lambda which: _FOUR[:, which])


@functools.partial(jax.jit, static_argnums=1)
def distinct_of_size(packed, size):
    return DistinctPatterns.of(packed, size=size)


def random_bits(shape, seed=0):
    return np.random.default_rng(seed).random(shape) < 0.4


def distinct_columns(bits):
    """First occurrences and counts, in order, by a dictionary."""
    first, counts = {}, {}
    for j, column in enumerate(map(tuple, bits.T)):
        first.setdefault(column, j)
        counts[column] = counts.get(column, 0) + 1
    return list(first.values()), list(counts.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_packing(shape):
    bits = random_bits(shape)
    packed = PackedPatterns.pack(bits)
    assert packed.shape == shape
    np.testing.assert_array_equal(packed.unpack(bool), bits)
    np.testing.assert_array_equal(packed.T.unpack(bool), bits.T)
    np.testing.assert_array_equal(packed.n_active, bits.sum(axis=0))
    np.testing.assert_array_equal(packed.never_active, ~bits.any(axis=0))
    np.testing.assert_array_equal(packed.always_active, bits.all(axis=0))


def test_bits_are_where_the_documentation_says():
    bits = np.zeros((40, 1), bool)
    bits[[0, 5, 33]] = True
    np.testing.assert_array_equal(PackedPatterns.pack(bits).words, [[1 + 2**5, 2]])


def test_words_must_fit():
    with pytest.raises(ValueError, match="must hold 2 words"):
        PackedPatterns(jnp.zeros((3, 1), jnp.uint32), 40)


@pytest.mark.parametrize("index", [1, -1, [2, 0], slice(1, None), np.array([True, False, True])])
def test_choosing_patterns_is_numpy_indexing(index):
    bits = random_bits((5, 3))
    expected = bits[:, np.atleast_1d(np.arange(3)[index])]
    np.testing.assert_array_equal(PackedPatterns.pack(bits)[index].unpack(bool), expected)


def test_choosing_a_pattern_that_is_not_there():
    with pytest.raises(IndexError, match="out of bounds"):
        PackedPatterns.pack(random_bits((5, 3)))[3]


def test_numbers_of_any_size():
    """No product overflows or vanishes, though the bare float32 product does both."""
    sizes = np.array([1e-30, 3e38, -2e-38, -1.0])
    X, G = np.ones((4, 2)) * sizes[:, None], np.array([[1.0, 0.5]]).T * np.float32(sizes)
    found = activation_patterns(X, G).unpack(bool)
    np.testing.assert_array_equal(found, np.sign(sizes)[:, None] * np.sign(sizes) > 0)


def test_a_million_examples_by_ten_thousand_gates_fit():
    """What the compiler has planned: the words, and little besides."""
    shapes = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1_000_000, 20), (20, 10_000)))
    plan = jax.jit(activation_patterns).lower(*shapes).compile().memory_analysis()
    assert plan.output_size_in_bytes == 10_000 * 1_000_000 // 8
    assert plan.temp_size_in_bytes < 0.2 * plan.output_size_in_bytes


# The large one: more gates than a block, more examples than fit beside them, no multiple of 32.
@pytest.mark.parametrize(("n", "d", "m"), [(3, 2, 4), (300, 7, 5), (300, 3, 9000), (0, 3, 2)])
@pytest.mark.parametrize("strict", [False, True])
def test_blocks_equal_the_whole_product(n, d, m, strict):
    rng = np.random.default_rng(n)
    X = rng.integers(-2, 3, (n, d))  # integers: exact, with many products of 0
    G = rng.integers(-2, 3, (d, m))
    product = X @ G
    found = activation_patterns(X, G, strict=strict)
    np.testing.assert_array_equal(found.unpack(bool), product > 0 if strict else product >= 0)


def test_jit_and_vmap_of_patterns():
    X = jax.random.normal(jax.random.key(0), (40, 3))
    G = jax.random.normal(jax.random.key(1), (2, 3, 6))
    each = [activation_patterns(X, g) for g in G]
    together = jax.vmap(lambda g: activation_patterns(X, g))(G)
    np.testing.assert_array_equal(together.words, jnp.stack([p.words for p in each]))
    jitted = jax.jit(lambda X, g: activation_patterns(X, g))(X, G[0])
    np.testing.assert_array_equal(jitted.words, each[0].words)
    D, _ = jax.jit(lambda X, g: compute_activation_patterns(X, g, False, False))(X, G[0])
    np.testing.assert_array_equal(D, each[0].unpack())


def test_filters_under_jit_say_what_to_do():
    with pytest.raises(TypeError, match="unique_patterns"):
        jax.jit(compute_activation_patterns)(jnp.ones((3, 2)), jnp.ones((2, 4)))
    with pytest.raises(TypeError, match="pass `size=`"):
        jax.jit(unique_patterns)(PackedPatterns.pack(random_bits((5, 4))))


def test_a_negative_size():
    with pytest.raises(ValueError, match="`size` must be a whole number of at least 0"):
        unique_patterns(PackedPatterns.pack(random_bits((5, 4))), size=-1)


def test_float64_is_kept(x64):
    X, G = np.array([[1.0, -1.0]]), np.array([[1.0], [1.0 + 1e-12]])
    assert not activation_patterns(X, G).unpack(bool)[0, 0]
    assert compute_activation_patterns(X, G)[0].dtype == np.float64


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int8])
def test_narrow_types_are_computed_in_float32(dtype):
    X, G = jnp.array([[1, 2], [-3, 1]], dtype), jnp.array([[1], [-1]], dtype)
    D, gates = compute_activation_patterns(X, G, filter_zero=False)
    assert D.dtype == gates.dtype == jnp.float32


def test_dtype_of_the_matrix():
    X, G = random_bits((5, 3)) - 0.5, random_bits((3, 4), 1) - 0.5
    D, gates = compute_activation_patterns(X, G, dtype=bool)
    assert D.dtype == bool and gates.dtype == jnp.float32
    np.testing.assert_array_equal(D, compute_activation_patterns(X, G)[0])


@pytest.mark.parametrize(
    ("X", "G", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 2)), "one entry for each column"),
        (np.array([[1.0, np.inf]]), np.ones((2, 1)), "`X` must be finite"),
        (np.ones((1, 2)), np.full((2, 1), np.nan), "`G` must be finite"),
    ],
)
def test_bad_data(X, G, message):
    with pytest.raises(ValueError, match=message):
        activation_patterns(X, G)


def test_complex_numbers_have_no_side():
    with pytest.raises(TypeError, match="real numbers"):
        as_data_and_gates(np.ones((2, 3), complex), np.ones((3, 2)))


@pytest.mark.parametrize(
    ("X", "G", "options", "message"),
    [
        (np.ones((3, 4)), np.ones((2, 5)), {}, "one more or less"),
        (np.eye(3, 4), np.ones((3, 5)), {}, "constant other than 0"),
        (np.eye(3), np.ones((3, 5)), {"active_proportion": -0.1}, r"\[0, 1\]"),
        (np.c_[np.eye(3), np.zeros(3)], np.ones((3, 5)), {}, "constant other than 0"),
    ],
)
def test_bad_bias(X, G, options, message):
    with pytest.raises(ValueError, match=message):
        compute_activation_patterns(X, G, bias=True, **options)


def test_every_combination_of_options():
    """Filters against the unfiltered call; the returned gates give the returned patterns."""
    rng = np.random.default_rng(0)
    points, normals = rng.integers(-1, 2, (33, 2)), rng.integers(-1, 2, (2, 7))
    flags = (False, True)
    for constant, bias_row, proportion, strict in itertools.product(
        (None, -2.5), flags, (None, 0.4), flags
    ):
        X = points if constant is None else np.c_[points, np.full(33, constant)]
        row = np.zeros((1, 7)) if proportion is not None else rng.integers(-1, 2, (1, 7))
        G = np.r_[normals, row] if bias_row else normals
        options = {"bias": True, "active_proportion": proportion, "strict": strict}
        every, gates = compute_activation_patterns(X, G, False, False, **options)
        product = np.c_[points, np.full(33, constant or 1)] @ np.asarray(gates, np.float64)
        np.testing.assert_array_equal(every, product > 0 if strict else product >= 0)
        first, _ = distinct_columns(np.asarray(every, bool))
        for duplicates, zero in itertools.product(flags, flags):
            kept = first if duplicates else list(range(7))
            kept = [j for j in kept if every[:, j].any() or not zero]
            D, G_kept = compute_activation_patterns(X, G, duplicates, zero, **options)
            np.testing.assert_array_equal(D, every[:, np.array(kept, int)])
            np.testing.assert_array_equal(G_kept, gates[:, np.array(kept, int)])


def test_constant_column_is_added_where_there_is_none():
    X = np.random.default_rng(0).normal(size=(20, 3))
    G = np.random.default_rng(1).normal(size=(3, 6))
    D, gates = compute_activation_patterns(X, G, False, False, bias=True, active_proportion=0.3)
    assert gates.shape == (4, 6)
    np.testing.assert_array_equal(D.sum(axis=0), np.full(6, 6))  # of 20: the quantile is between
    with_ones = np.c_[X, np.ones(20)]
    again, same = compute_activation_patterns(
        with_ones, G, False, False, bias=True, active_proportion=0.3
    )
    np.testing.assert_array_equal(D, again)
    np.testing.assert_array_equal(gates, same)
    own = compute_activation_patterns(X, gates, False, False, bias=True)[0]
    np.testing.assert_array_equal(D, own)


@pytest.mark.parametrize("proportion", [0.0, 0.25, 0.3, 1.0])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_active_proportion(proportion, strict, seed):
    n = 17  # so that 0, 1/4 and 1 put an example exactly on the quantile
    X = np.random.default_rng(seed).normal(size=(n, 3))
    G = np.random.default_rng(seed + 1).normal(size=(3, 4))
    D, gates = compute_activation_patterns(
        X, G, False, False, bias=True, active_proportion=proportion, strict=strict
    )
    above = proportion * (n - 1)
    expected = np.ceil(above) if strict else np.floor(above) + 1
    np.testing.assert_array_equal(D.sum(axis=0), np.full(4, expected))
    product = np.c_[X, np.ones(n)] @ np.asarray(gates, np.float64)
    np.testing.assert_array_equal(product > 0 if strict else product >= 0, np.asarray(D) == 1)


@settings(max_examples=15, deadline=None)
@given(matrices)
def test_distinct(bits):
    packed = PackedPatterns.pack(bits)
    index, counts = distinct_columns(bits)
    found, found_index, found_counts = unique_patterns(packed)
    np.testing.assert_array_equal(found_index, index)
    np.testing.assert_array_equal(found_counts, counts)
    np.testing.assert_array_equal(found.unpack(bool), bits[:, index])


@settings(max_examples=15, deadline=None)
@given(matrices, st.sampled_from([1, 3, 20]))
def test_distinct_of_fixed_size(bits, size):
    packed = PackedPatterns.pack(bits)
    index, counts = distinct_columns(bits)
    found = distinct_of_size(packed, size)
    assert int(found.n_distinct) == len(index)
    kept = min(size, len(index))
    np.testing.assert_array_equal(found.index, index[:kept] + [-1] * (size - kept))
    np.testing.assert_array_equal(found.counts, counts[:kept] + [0] * (size - kept))
    np.testing.assert_array_equal(found.patterns.unpack(bool)[:, :kept], bits[:, index[:kept]])
    assert not found.patterns.words[kept:].any()
    assert int(found.missed) == sum(counts[kept:])


@settings(max_examples=10, deadline=None)
@given(matrices, st.sampled_from([0, 4]))
def test_merged_batches_equal_one_batch(bits, cut):
    packed = PackedPatterns.pack(bits)
    whole = distinct_of_size(packed, 15)
    stream = DistinctPatterns.none(len(bits), 15)
    for part in (packed[:cut], packed[cut:]):
        stream = stream.merge(distinct_of_size(part, 15), size=15)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(stream), strict=True):
        np.testing.assert_array_equal(a, b)


def test_merging_eagerly_keeps_what_there_is():
    packed = PackedPatterns.pack(random_bits((3, 12)))
    stream = DistinctPatterns.none(3)
    for part in (packed[:5], packed[5:]):
        stream = stream.merge(DistinctPatterns.of(part))
    for a, b in zip(
        jax.tree.leaves(DistinctPatterns.of(packed)), jax.tree.leaves(stream), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_merging_with_no_room_keeps_the_numbers():
    counted = DistinctPatterns.of(PackedPatterns.pack(random_bits((5, 3))), size=0)
    both = counted.merge(counted, size=0)
    assert (int(both.n_distinct), int(both.seen), int(both.missed)) == (3, 6, 6)


def test_vmap_of_distinct():
    bits = np.stack([random_bits((4, 9), seed) for seed in range(3)])
    words = jnp.stack([PackedPatterns.pack(b).words for b in bits])
    _, index, _ = jax.vmap(lambda w: unique_patterns(PackedPatterns(w, 4), size=9))(words)
    for row, b in zip(index, bits, strict=True):
        expected = distinct_columns(b)[0]
        np.testing.assert_array_equal(row[: len(expected)], expected)


def test_only_patterns_on_the_same_examples_merge():
    with pytest.raises(ValueError, match="same examples"):
        DistinctPatterns.none(3).merge(DistinctPatterns.none(4))
    with pytest.raises(ValueError, match="cannot be compared"):
        hamming_distances(PackedPatterns.pack(np.eye(3)), PackedPatterns.pack(np.eye(4)))


def test_distances():
    a, b = random_bits((70, 6), 1), random_bits((70, 9), 2)
    expected = np.sum(a[:, :, None] != b[:, None, :], axis=0)
    packed = PackedPatterns.pack(a), PackedPatterns.pack(b)
    np.testing.assert_array_equal(hamming_distances(*packed), expected)
    index, distance = nearest_patterns(*packed)
    np.testing.assert_array_equal(index, expected.argmin(axis=1))
    np.testing.assert_array_equal(distance, expected.min(axis=1))
    with pytest.raises(ValueError, match="no nearest"):
        nearest_patterns(packed[0], packed[1][:0])


def test_coverage_of_known_counts():
    seen = coverage(jnp.array([4, 2, 2, 1, 1, 1, 0, 0]))
    n, once, twice = 11, 3, 2
    assert int(seen.distinct) == 6
    volume = 1 - once / n * (n - 1) * once / ((n - 1) * once + 2 * twice)
    np.testing.assert_allclose(seen.volume, volume, rtol=1e-6)
    np.testing.assert_allclose(seen.total, 6 + 10 / 11 * 3 * 2 / (2 * 3), rtol=1e-6)
    np.testing.assert_allclose(seen.fraction, 6 / seen.total, rtol=1e-6)
    assert float(coverage(jnp.array([4, 3]), total=4).fraction) == 0.5
    assert float(coverage(jnp.array([4, 3])).volume) == 1.0
    for nothing in (jnp.zeros(0, int), jnp.zeros(3, int)):
        assert float(coverage(nothing).volume) == float(coverage(nothing).fraction) == 0.0
    assert float(coverage(jnp.array([1])).volume) == 0.0
    with pytest.raises(ValueError, match="negative"):
        coverage(jnp.array([1, -1]))


def test_coverage_is_right_on_average():
    """The true volume of the seen patterns, on the circle, where it is a sum of angles."""
    X = jax.random.normal(jax.random.key(3), (30, 2))
    edges = np.sort(np.mod(np.arctan2(X[:, 1], X[:, 0]) + np.pi / 2, np.pi))
    edges = np.concatenate([edges, edges + np.pi])
    errors = []
    for seed in range(20):
        G = sample_dense_gates(jax.random.key(seed), 2, 60)
        _, _, counts = unique_patterns(activation_patterns(X, G), size=60)
        angles = np.mod(np.arctan2(G[1], G[0]) - edges[0], 2 * np.pi) + edges[0]
        cells = np.unique(np.searchsorted(edges, angles))
        widths = np.diff(np.concatenate([edges, [edges[0] + 2 * np.pi]]))
        errors.append(float(coverage(counts).volume) - widths[cells - 1].sum() / (2 * np.pi))
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(20)


@pytest.mark.parametrize(
    ("d", "options", "patch", "corners"),
    [
        (784, {}, 9, (26, 26)),
        (2 * 5 * 7, {"image_shape": (2, 5, 7), "kernel_size": (2, 3)}, 12, (4, 5)),
        (35, {"image_shape": (5, 7), "kernel_size": 2, "stride": 2}, 4, (2, 3)),
        (16, {"image_shape": (4, 4), "kernel_size": 4}, 16, (1, 1)),
    ],
)
def test_patches_sit_at_every_valid_place(d, options, patch, corners):
    gates = np.asarray(sample_convolutional_gates(jax.random.key(0), d, 9000, **options)) != 0
    assert set(gates.sum(axis=0)) == {patch}
    first = np.unique(gates.argmax(axis=0))
    width = options.get("image_shape", (1, 28, 28))[-1]
    stride = options.get("stride", 1)
    expected = [stride * (r * width + c) for r in range(corners[0]) for c in range(corners[1])]
    np.testing.assert_array_equal(first, expected)


@pytest.mark.parametrize(
    ("d", "options", "message"),
    [
        (100, {}, "unknown"),
        (100, {"image_shape": (3, 30)}, "product of d=100"),
        (100, {"image_shape": (10, 10), "kernel_size": 11}, "larger than the image"),
        (100, {"image_shape": (10, 10), "stride": 0}, "at least 1"),
    ],
)
def test_bad_images(d, options, message):
    with pytest.raises(ValueError, match=message):
        sample_convolutional_gates(jax.random.key(0), d, 2, **options)


def test_bad_groups():
    with pytest.raises(ValueError, match="group 1 is"):
        sample_sparse_gates(jax.random.key(0), 3, 4, [[0], [3]])
    for sample in (
        sample_dense_gates,
        functools.partial(sample_sparse_gates, sparsity_indices=[[0]]),
    ):
        with pytest.raises(ValueError, match="at least 0"):
            sample(jax.random.key(0), 3, -1)


def test_gates_under_jit():
    key = jax.random.key(0)
    for sample in (
        lambda key: sample_sparse_gates(key, 4, 5, [[0], [1, 2]]),
        lambda key: sample_convolutional_gates(key, 18, 5, image_shape=(2, 3, 3), kernel_size=2),
    ):
        np.testing.assert_array_equal(jax.jit(sample)(key), sample(key))
