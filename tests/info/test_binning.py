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
    # NumPy decides in double precision: keep away from edges, where rounding may differ.
    position = (x.astype(float) - lower) / (float(upper) - lower) * bins
    x = x[np.abs(position - np.round(position)) > 1e-3]
    index = np.asarray(Binning(bins, lower, upper).index(jnp.asarray(x)))
    counts = np.bincount(index, minlength=bins + 1)
    assert np.array_equal(counts[:bins], np.histogram(x, bins, (lower, upper))[0])
    assert counts[bins] == np.sum((x < lower) | (x > upper))


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
