"""Histograms: exact counts by every method, and the laws of a monoid."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo._core import number_of_bin
from jaxinfo.info import JointHistogram, PairHistogram
from jaxinfo.info._counting import _by_product, _by_scatter, count_pairs


def numbers(key, n, d, bins):
    """Bin numbers, some of which are no bin."""
    return jax.random.randint(key, (n, d), -1, bins + 2)


@pytest.mark.parametrize("count", [count_pairs, _by_scatter, _by_product])
@pytest.mark.parametrize(("in_bins", "out_bins"), [(2, 3), (8, 5), (181, 181), (182, 181)])
def test_counts_against_numpy(count, in_bins, out_bins, getkey):
    x, y = numbers(getkey(), 333, 3, in_bins), numbers(getkey(), 333, 2, out_bins)
    given = (x, y)
    if count is not count_pairs:
        given = number_of_bin(x, in_bins), number_of_bin(y, out_bins)
    counts = np.asarray(count(*given, in_bins, out_bins))
    for a in range(3):
        for b in range(2):
            expected = np.histogram2d(
                x[:, a],
                y[:, b],
                (in_bins, out_bins),
                ((-0.5, in_bins - 0.5), (-0.5, out_bins - 0.5)),
            )[0]
            assert np.array_equal(counts[a, b], expected)


def test_the_product_counts_past_one_chunk(monkeypatch, getkey):
    from jaxinfo.info import _counting

    monkeypatch.setattr(_counting, "_CHUNK", 64)
    x, y = (number_of_bin(numbers(getkey(), 300, 2, 4), 4) for _ in range(2))
    assert jnp.array_equal(_by_product(x, y, 4, 4), _by_scatter(x, y, 4, 4))


def test_pair_histogram_is_a_commutative_monoid(getkey):
    a, b, c = (
        PairHistogram.zeros(3, 2, 4, 5).update(
            numbers(getkey(), n, 3, 4), numbers(getkey(), n, 2, 5)
        )
        for n in (10, 20, 30)
    )

    def same(g, h):
        return jnp.array_equal(g.counts, h.counts) and g.samples == h.samples

    unit = PairHistogram.zeros(3, 2, 4, 5)
    assert same(a.merge(unit), a) and same(unit.merge(a), a)
    assert same(a.merge(b), b.merge(a))
    assert same(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert a.merge(b).samples == 30


def test_pair_histogram_says_what_fell_outside():
    x = jnp.array([[0], [1], [1]])
    y = jnp.array([[0, 2], [2, -1], [1, 1]])
    h = PairHistogram.zeros(1, 2, 2, 2).update(x, y)
    assert h.outside.tolist() == [[1, 2]]
    padded = PairHistogram.zeros(1, 2, 2, 2).update(
        jnp.concatenate([x, jnp.array([[-1]])]),
        jnp.concatenate([y, jnp.array([[0, 0]])]),
        samples=jnp.array(3),
    )
    assert jnp.array_equal(padded.counts, h.counts)
    assert jnp.array_equal(padded.outside, h.outside)


def test_samples_past_32_bits_are_refused():
    many = 2**30 + 2**29
    table = jnp.array([[many, 0], [0, 3]], jnp.int32)
    for one in (
        PairHistogram(table[None, None], jnp.int32(many + 3)),
        dataclasses.replace(JointHistogram.zeros(1, 1, 2, 2), samples=jnp.int32(many + 3)),
    ):
        with pytest.raises(ValueError, match="more samples than int32 can count"):
            one.merge(one)
        assert one.merge(jax.tree.map(jnp.zeros_like, one)).samples == many + 3


def test_histograms_of_other_shape_do_not_merge():
    with pytest.raises(ValueError, match="same neurons and bins"):
        PairHistogram.zeros(1, 1, 2, 2).merge(PairHistogram.zeros(1, 1, 2, 3))


def test_joint_entropies_against_numpy(getkey):
    x = jax.random.randint(getkey(), (400, 5), 0, 3)
    y = x[:, :2] * 2 + jax.random.randint(getkey(), (400, 2), 0, 2)
    h = JointHistogram.of(x, y, 3, 6)

    def entropy(rows):
        counts = np.unique(np.asarray(rows), axis=0, return_counts=True)[1]
        return -np.sum(counts / 400 * np.log2(counts / 400))

    both = np.concatenate([x, y], axis=1)
    assert np.allclose(h.entropies(), [entropy(x), entropy(y), entropy(both)], atol=1e-5)
    expected = entropy(x) + entropy(y) - entropy(both)
    assert np.allclose(h.mutual_information(), expected, atol=2e-5)


def test_joint_histogram_is_a_monoid(getkey):
    parts = [
        JointHistogram.of(numbers(getkey(), n, 2, 4), numbers(getkey(), n, 2, 3), 4, 3)
        for n in (40, 50)
    ]
    whole = parts[0].merge(parts[1])
    turned = parts[1].merge(parts[0])
    assert jnp.allclose(whole.mutual_information(), turned.mutual_information(), atol=1e-6)
    unit = JointHistogram.zeros(2, 2, 4, 3)
    assert jnp.array_equal(unit.merge(parts[0]).mutual_information(), parts[0].mutual_information())
    assert whole.samples == 90
    assert whole.outside == parts[0].outside + parts[1].outside


def test_an_empty_joint_histogram_knows_nothing():
    assert JointHistogram.zeros(2, 2, 4, 4).mutual_information() == 0
