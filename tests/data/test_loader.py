"""Batches: each example once a pass, in one order for all matrices, and as a scan takes them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxinfo.data import DataLoader, digits


@given(
    st.sampled_from([(1, 1), (7, 3), (8, 4), (5, 5), (5, 4)]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 100),
)
@settings(max_examples=40, deadline=None)
def test_a_pass_serves_each_example_once(sizes, in_order, equal, seed):
    n, batch_size = sizes
    x, y = np.arange(n) * 10, np.arange(n)[:, None] * np.ones(2)
    loader = DataLoader([("x", x), ("y", y)], batch_size, in_order, equal, jr.key(seed))
    passes = []
    for epoch in range(2):
        batches = list(loader)
        assert len(batches) == len(loader) == -(-n // batch_size)
        rows = np.concatenate([np.asarray(batch[0][1]) for batch in batches]) // 10
        for (name_x, xs), (name_y, ys) in batches:
            assert (name_x, name_y) == ("x", "y") and ys.shape == (len(xs), 2)
            np.testing.assert_array_equal(xs, 10 * ys[:, 0])
            assert len(xs) == batch_size or (not equal and len(xs) == n % batch_size)
        assert sorted(rows[:n]) == list(range(n))
        surplus = len(loader) * batch_size - n if equal else 0
        if in_order:  # random ones of those seen before the last batch
            assert len(set(rows[n:])) == surplus and all(rows[n:] < n - n % batch_size)
        else:  # the first ones, which are random
            np.testing.assert_array_equal(rows[n:], rows[:surplus])
        if in_order:
            np.testing.assert_array_equal(rows[:n], np.arange(n))
        indices = np.asarray(loader.indices(epoch)).ravel()
        np.testing.assert_array_equal(indices[indices >= 0], rows)
        assert indices.size == len(loader) * batch_size and np.all(indices[len(rows) :] == -1)
        passes.append(rows)
    again = DataLoader([("x", x)], batch_size, in_order, equal, jr.key(seed))
    for rows in passes:  # the key fixes the sequence of passes
        np.testing.assert_array_equal(np.concatenate([b[0][1] for b in again]) // 10, rows)


def test_each_pass_has_its_own_order_and_the_fill_is_random():
    loader = DataLoader([("x", np.arange(50))], 8, key=jr.key(0))
    orders = np.asarray(jax.jit(jax.vmap(loader.indices))(jnp.arange(200))).reshape(200, -1)
    assert len({tuple(order) for order in orders}) == 200
    places = orders[:, :50].argsort(axis=1)  # where each example is served: anywhere
    assert np.all(np.abs(places.mean(axis=0) - 24.5) < 5 * 14.5 / 200**0.5)
    filled = np.bincount(orders[:, 50:].ravel(), minlength=50)
    assert filled.max() < 50 and np.sum(filled > 0) > 45
    np.testing.assert_array_equal(orders[3], np.asarray(loader.indices(3)).ravel())


def test_a_pass_in_order_is_filled_with_random_ones_of_those_seen():
    """As documented by the source: with a key other ones each pass, without one the first."""
    order = np.arange(50)
    loader = DataLoader([("x", order)], 8, disable_shuffle=True, key=jr.key(0))
    passes = np.asarray(jax.jit(jax.vmap(loader.indices))(jnp.arange(200))).reshape(200, -1)
    np.testing.assert_array_equal(passes[:, :50], np.tile(order, (200, 1)))
    fills = passes[:, 50:]
    assert all(len(set(fill)) == 6 for fill in fills) and len({tuple(fill) for fill in fills}) > 190
    drawn = np.bincount(fills.ravel(), minlength=50)
    assert drawn[48:].sum() == 0 and drawn[:48].min() > 5  # each of those in the whole batches
    loader = DataLoader([("x", order)], 8, disable_shuffle=True)
    np.testing.assert_array_equal(np.asarray(loader.indices(3)).ravel()[50:], order[:6])


def test_a_jitted_scan_sees_what_the_loop_sees():
    x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    loader = DataLoader([("x", x)], 4, key=jr.key(1))
    by_loop = [batch[0][1].sum() for batch in loader]

    @jax.jit
    def by_scan(x, epoch):
        return jax.lax.scan(lambda c, rows: (c, x[rows].sum()), 0, loader.indices(epoch))[1]

    np.testing.assert_allclose(by_scan(x, 0), by_loop, rtol=1e-5)


def test_lists_and_images_are_welcome():
    (batch,) = DataLoader([("x", [1, 2, 3]), ("image", np.zeros((3, 4, 5)))], 3, True)
    assert batch[0][1].tolist() == [1, 2, 3] and batch[1][1].shape == (3, 4, 5)


@pytest.mark.parametrize(
    "matrices, batch_size, options, error, message",
    [
        ([], 1, {}, ValueError, "at least one"),
        ([("x", np.array(3.0))], 1, {}, ValueError, "along the first axis"),
        ([("x", np.arange(3)), ("y", np.arange(4))], 2, {}, ValueError, "equal length"),
        ([("x", np.arange(3))], 4, {}, ValueError, "between 1 and the number of examples 3"),
        ([("x", np.arange(3))], 0, {}, ValueError, "between 1 and the number of examples 3"),
        ([("x", np.zeros((0, 2)))], 1, {}, ValueError, "number of examples 0"),
        ([("x", np.arange(3))], 2, {"key": None}, ValueError, "needs `key=`"),
    ],
)
def test_bad_arguments(matrices, batch_size, options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(matrices, batch_size, **{"key": jr.key(0), **options})


def test_digits_are_all_there():
    images, labels = digits()
    assert images.shape == (1797, 8, 8) and images.dtype == jnp.float32
    assert float(images.min()) == 0 and float(images.max()) == 1
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    np.testing.assert_array_equal(images * 16, np.round(images * 16))
