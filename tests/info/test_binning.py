"""The binning rule against NumPy's histogram, and its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxinfo.info import Binning


@settings(max_examples=40, deadline=None)
@given(
    bins=st.integers(2, 50),
    lower=st.floats(-10, 10, width=32),
    width=st.floats(0.125, 20, width=32),
    seed=st.integers(0, 2**31 - 1),
)
def test_as_numpy_histogram(bins, lower, width, seed):
    rng = np.random.default_rng(seed)
    upper = np.float32(lower + width)
    x = rng.uniform(lower - width / 4, upper + width / 4, 200).astype(np.float32)
    # NumPy decides in double precision: keep away from edges, which rounding moves.
    position = (x.astype(float) - lower) / (float(upper) - lower) * bins
    x = x[np.abs(position - np.round(position)) > 1e-3]
    index = np.asarray(Binning(bins, lower, upper).index(jnp.asarray(x)))
    counts = np.bincount(index, minlength=bins + 1)
    assert np.array_equal(counts[:bins], np.histogram(x, bins, (lower, upper))[0])
    assert counts[bins] == np.sum((x < lower) | (x > upper))


def in_the_bins_of(edges, x):
    """The rule, by comparison with the edges: the last edge that is not above the value."""
    bins = len(edges) - 1
    found = np.minimum(np.searchsorted(edges, x, side="right") - 1, bins - 1)
    return np.where((x >= edges[0]) & (x <= edges[-1]), found, bins)


RANGES = {
    50: [(0, 50), (-5, 5), (0, 1), (0.9, 1.1), (-3e38, 3e38)],
    49: [(0, 49), (1e-36, 2e-36), (-1e-5, 1e20), (-17.3, 1e-3)],
    1100: [(0, 1100), (0, 1)],
}


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_every_edge_begins_its_own_bin(dtype, x64):
    index = jax.jit(Binning.index)
    for bins, (lower, upper) in (
        (bins, bounds) for bins, many in RANGES.items() for bounds in many
    ):
        lower, upper = dtype(lower), dtype(upper)
        binning = Binning(bins, lower, upper)
        if dtype == np.float32:
            binning = jax.tree.map(lambda bound: bound.astype(np.float32), binning)
        edges = np.asarray(binning.edges)
        assert edges.dtype == dtype and (edges[0], edges[-1]) == (lower, upper)
        assert (np.diff(edges) > 0).all()
        # The edges are where the definition puts them, but for rounding.
        exact = lower + np.arange(bins + 1) * ((np.longdouble(upper) - lower) / bins)
        rounding = 4 * np.finfo(dtype).eps * max(abs(lower), abs(upper))
        np.testing.assert_allclose(edges, exact.astype(dtype), rtol=0, atol=rounding)
        below, above = (np.nextafter(edges, dtype(end)) for end in (-np.inf, np.inf))
        x = np.nan_to_num(np.concatenate([edges, below, above]))
        expected = in_the_bins_of(edges, x)
        np.testing.assert_array_equal(index(binning, x), expected, f"{bins, lower, upper}")
        if bins == 49:  # and with the bounds known
            np.testing.assert_array_equal(binning.index(jnp.asarray(x)), expected)


@jax.jit
def edges_and_bins(binning, steps):
    x = edges = binning.edges
    up = jnp.where(steps > 0, jnp.inf, -jnp.inf).astype(edges.dtype)
    x = jax.lax.fori_loop(0, jnp.abs(steps), lambda _, x: jnp.nextafter(x, up), x)
    return edges, x, binning.index(x)


# JAX takes a subnormal number for 0, NumPy does not.
NORMAL = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@settings(max_examples=100, deadline=None)
@given(
    bins=st.sampled_from((3, 10, 97)),
    bounds=st.lists(NORMAL, min_size=2, max_size=2).map(sorted),
    steps=st.integers(-3, 3),
)
def test_numbers_next_to_an_edge(bins, bounds, steps):
    lower, upper = bounds
    if 0 < upper - lower < 1e-34:
        return  # a bin would be narrower than the smallest normal number: refused
    edges, x, found = map(np.asarray, edges_and_bins(Binning(bins, lower, upper), steps))
    sound = (x == 0) | (np.abs(x) >= np.finfo(np.float32).tiny)  # subnormals are 0 to JAX
    if lower == upper:
        np.testing.assert_array_equal(found[sound], np.where(x == edges[0], 0, bins)[sound])
    elif (np.diff(edges) > 0).all():
        np.testing.assert_array_equal(found[sound], in_the_bins_of(edges, x)[sound])
    else:  # fewer numbers than bins: each has its own, in their order
        _, first = np.unique(x, return_index=True)
        inside = found[first][found[first] < bins]
        assert (np.diff(inside) > 0).all()


@pytest.mark.parametrize("dtype", (np.int32, np.int64, np.uint32))
def test_integers_keep_their_values_in_64_bit_mode(dtype, x64):
    x = np.array([2**24, 2**24 + 1], dtype)
    assert Binning(2, 2.0**24, 2.0**24 + 2).index(jnp.asarray(x)).tolist() == [0, 1]


def test_edges_are_closed_at_both_ends():
    index = Binning(2, -1.0, 1.0).index
    values = jnp.array([-1.0, -1e-7, 0.0, 1.0, jnp.nextafter(1.0, 2.0), jnp.nan, jnp.inf])
    assert index(values).tolist() == [0, 0, 1, 1, 2, 2, 2]


def test_clip_keeps_what_is_outside_but_not_nan():
    index = Binning(4, 0.0, 1.0, out_of_range="clip").index
    values = jnp.array([-jnp.inf, -3.0, 0.3, 1e30, jnp.inf, jnp.nan])
    assert index(values).tolist() == [0, 0, 1, 3, 3, 4]


def test_one_range_for_each_neuron():
    binning = Binning(4, jnp.array([0.0, 10.0]), jnp.array([1.0, 20.0]))
    assert binning.index(jnp.array([[0.5, 15.0], [15.0, 0.5]])).tolist() == [[2, 2], [4, 4]]
    assert binning.edges.shape == (2, 5)
    assert jnp.array_equal(binning.edges[:, -1], binning.upper)
    assert jnp.allclose(binning.centres[1], jnp.array([11.25, 13.75, 16.25, 18.75]))


def test_a_range_of_one_point():
    assert Binning(4, 2.0, 2.0).index(jnp.array([2.0, 2.1, 1.9])).tolist() == [0, 4, 4]


def test_bfloat16_is_binned_in_float32():
    x = jnp.array([0.99609375], jnp.bfloat16)
    assert Binning(256, 0.0, 1.0).index(x).tolist() == [255]


def test_bounds_are_traced():
    traces = []

    @jax.jit
    def index(binning, x):
        traces.append(None)
        return binning.index(x)

    for upper in (1.0, 2.0):
        index(Binning(4, 0.0, upper), jnp.array(0.6))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 0.0, 1.0), "at least 2"),
        ((4, 1.0, 0.0), "lower <= upper"),
        ((4, 0.0, np.inf), "finite"),
        ((4, np.nan, 1.0), "finite"),
    ],
)
def test_bad_ranges_and_bins(arguments, message):
    with pytest.raises(ValueError, match=message):
        Binning(*arguments)


def test_an_unknown_rule():
    # TypeError where annotations are checked at run time, as they are in these tests.
    with pytest.raises((ValueError, TypeError), match="drop"):
        Binning(4, 0.0, 1.0, out_of_range="wrap")


@pytest.mark.parametrize("transform", [jax.grad, jax.jacfwd])
def test_refuses_to_be_differentiated(transform):
    binning = Binning(4, 0.0, 1.0)
    with pytest.raises(TypeError, match=r"Exact\(\).*Soft\(\)"):
        transform(lambda x: jnp.float32(binning.index(x)) * x)(0.3)
