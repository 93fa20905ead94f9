"""Quasi-random points: evenly spread, scrambled by the key, and a sampled EI with less noise."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import qmc

from jaxinfo.ei import Exact, Sampling, ei_parts, ei_parts_matrix, sensitivity
from jaxinfo.ei._intervention import BLOCK
from jaxinfo.ei._points import POINTS
from jaxinfo.ei._sobol import _primitive_polynomials, direction_numbers, sobol_points
from jaxinfo.info import PlugIn
from jaxinfo.network import Channel

KEY = jr.key(3)
EVEN = ["lattice", "sobol"]


def drawn(points, dimension, blocks=2, key=KEY):
    draw = jax.jit(POINTS[points](key, dimension))
    return np.concatenate([draw(jnp.array(block)) for block in range(blocks)])


@pytest.fixture(scope="module")
def many():
    """2000 points in 40 dimensions of each family."""
    return {points: drawn(points, 40) for points in POINTS}


@pytest.mark.parametrize("points", POINTS)
def test_points_fill_the_half_open_cube_and_depend_on_the_key(points, many):
    x = many[points]
    assert x.shape == (2 * BLOCK, 40) and x.dtype == np.float32
    assert x.min() >= 0 and x.max() < 1
    assert abs(x.mean() - 0.5) < 0.01
    assert not np.any(drawn(points, 40, 1, jr.key(4))[0] == x[0])
    # No two coordinates go together.
    assert np.max(np.abs(np.corrcoef(x[:1024].T) - np.eye(40))) < 0.2


def test_a_lattice_fills_every_coordinate_evenly(many):
    for n in (256, 1024):
        gaps = np.diff(np.sort(many["lattice"][:n], axis=0), axis=0)
        assert np.allclose(gaps, 1 / n, atol=1e-6)


def test_sobol_points_are_stratified_in_every_power_of_two(many):
    """One in each of 2**m intervals, for any run of 2**m that starts at a multiple of 2**m."""
    x = many["sobol"]
    for m in range(11):
        runs = len(x) >> m
        cells = np.floor(x[: runs << m].reshape(runs, 1 << m, -1) * 2**m)
        assert np.array_equal(
            np.sort(cells, axis=1), np.broadcast_to(np.arange(2**m)[:, None], cells.shape)
        )


def test_the_first_two_sobol_axes_are_a_net(many):
    """With t = 0: one of 2**10 points in each of the 2**10 boxes of any shape."""
    x = many["sobol"][:1024, :2]
    for m in range(11):
        boxes = np.floor(x * [2**m, 2 ** (10 - m)]) @ [2 ** (10 - m), 1]
        assert np.array_equal(np.sort(boxes), np.arange(1024))


@pytest.mark.parametrize("points", EVEN)
def test_low_discrepancy(points, many):
    even, chance = (qmc.discrepancy(many[p][:1024, :6]) for p in (points, "random"))
    assert even < chance / 8


def test_polynomials_are_primitive():
    """Each divides x**(2**d - 1) - 1 and no shorter one; and all of them are there."""
    found = _primitive_polynomials(52)

    def period(polynomial):
        power, degree = 1, polynomial.bit_length() - 1
        for exponent in itertools.count(1):
            power <<= 1
            if power >> degree & 1:
                power ^= polynomial
            if power == 1:
                return exponent

    assert found[:6] == [0b11, 0b111, 0b1011, 0b1101, 0b10011, 0b11001]
    assert all(period(p) == 2 ** (p.bit_length() - 1) - 1 for p in found)
    # Euler's function of 2**d - 1, over d.
    degrees = [p.bit_length() - 1 for p in found]
    assert [degrees.count(d) for d in range(1, 9)] == [1, 1, 2, 2, 6, 6, 18, 16]


def test_direction_numbers_are_nested_and_each_matrix_is_upper_triangular():
    numbers = direction_numbers(30)
    assert np.array_equal(direction_numbers(7), numbers[:7])
    last = np.uint32(1) << np.arange(31, -1, -1, dtype=np.uint32)
    assert np.all(numbers & last == last) and np.all(numbers & (last - 1) == 0)


def test_no_plane_of_sobol_points_is_uneven():
    """Of 256 points in up to 53 dimensions, 16 are in each of 4 x 4 squares of any plane."""
    x = drawn("sobol", 53, 1)[:256]
    quarter = np.floor(4 * x).astype(int)
    for a, b in itertools.combinations(range(53), 2):
        assert np.all(np.bincount(4 * quarter[:, a] + quarter[:, b], minlength=16) == 16)


def test_most_dimensions_of_sobol_points():
    numbers = direction_numbers(1111)
    assert len(np.unique(numbers[:, :13] >> 30, axis=0)) == 1111
    with pytest.raises(ValueError, match="at most 1111 dimensions here; got 1112"):
        sobol_points(KEY, 1112)


def wide(n_in=3, n_out=2):
    weight = jr.normal(jr.key(0), (n_in, n_out))
    return Channel.from_weight(weight, None, "sigmoid", in_range=(-1, 1))


@pytest.mark.parametrize("points", POINTS)
def test_counts_do_not_depend_on_the_batch_size(points):
    options = {"key": KEY, "in_bins": 6, "out_bins": 6, "estimator": PlugIn()}
    first, second = (
        ei_parts_matrix(
            wide(), None, method=Sampling(samples=5000, batch_size=size, points=points), **options
        )
        for size in (1000, 3000)
    )
    assert jnp.array_equal(first, second)


@pytest.mark.parametrize("points", EVEN)
def test_even_points_have_less_noise_and_no_less_truth(points):
    options = {"in_bins": 4, "out_bins": 4}
    truth = ei_parts(wide(), None, method=Exact(), **options)

    def error(points):
        def once(key):
            method = Sampling(samples=4096, points=points)
            return ei_parts(wide(), None, key=key, method=method, estimator=PlugIn(), **options)

        return jax.jit(lambda keys: jax.lax.map(once, keys))(jr.split(KEY, 20)) - truth

    assert jnp.sqrt(jnp.mean(error(points) ** 2)) < jnp.sqrt(jnp.mean(error("random") ** 2)) / 4


def test_sensitivity_of_a_copy_is_exact_on_sobol_points():
    wire = Channel.from_weight(jnp.eye(2), in_range=(0, 1), out_range=(0, 1))
    method = Sampling(samples=1024, points="sobol")
    bits = sensitivity(
        wire, None, key=KEY, in_bins=8, out_bins=8, method=method, estimator=PlugIn()
    )
    assert jnp.isclose(bits, 6, atol=1e-5)
