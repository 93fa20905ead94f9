"""Soft bins and the soft route: a partition of unity, the hard limit, and true gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import jaxinfo
from jaxinfo.ei import (
    Exact,
    Sampling,
    Soft,
    ei,
    ei_parts,
    ei_parts_matrix,
    eis_between_groups,
    sensitivity,
)
from jaxinfo.ei._intervention import Setting
from jaxinfo.ei._soft import _soft_parts
from jaxinfo.info import Binning, Jackknife

KERNELS = ["linear", "gaussian"]
kernels = pytest.mark.parametrize("kernel", KERNELS)
KEY = jr.key(7)
QUANTITIES = [ei, ei_parts, sensitivity]


def channel(weight, activation="sigmoid", **options):
    return jaxinfo.Channel.from_weight(weight, None, activation, in_range=(-1, 1), **options)


def bits(weight, method, **options):
    options = {"key": KEY, "in_bins": 4, "out_bins": 4, "method": method} | options
    return ei_parts(channel(weight), None, **options)


@kernels
@settings(max_examples=25, deadline=None)
@given(x=st.floats(-1, 1, width=32), bandwidth=st.floats(0.0078125, 3, width=32))
def test_a_partition_of_unity_inside_the_range_edges_included(kernel, x, bandwidth):
    for out_of_range in ("drop", "clip"):
        binning = Binning(4, -1.0, 1.0, out_of_range=out_of_range)
        weights = binning.soft(jnp.array([x, -1.0, 1.0]), bandwidth=bandwidth, kernel=kernel)
        assert jnp.allclose(jnp.sum(weights, axis=-1), 1, atol=1e-6)
        assert jnp.all(weights >= -1e-6)


@kernels
def test_a_narrow_kernel_gives_the_hard_bins(kernel, getkey):
    x = jr.uniform(getkey(), (50, 3), minval=-1.5, maxval=1.5)
    for out_of_range in ("drop", "clip"):
        binning = Binning(4, -1.0, jnp.array([0.5, 1.0, 1.2]), out_of_range=out_of_range)
        soft = binning.soft(x, bandwidth=1e-5, kernel=kernel)
        assert jnp.allclose(soft, jax.nn.one_hot(binning.index(x), 4), atol=1e-5)


def test_linear_weights_are_shared_by_the_nearest_centres():
    weights = Binning(4, 0.0, 4.0).soft(jnp.array([1.5, 1.75, 0.2, 3.9]))
    expected = [[0, 1, 0, 0], [0, 0.75, 0.25, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert jnp.allclose(weights, jnp.array(expected))


@kernels
def test_what_is_outside_fades_and_nan_has_no_weight(kernel):
    x = jnp.array([-0.25, -4.0, -jnp.inf, jnp.nan, jnp.inf])
    dropped = jnp.sum(Binning(4, 0.0, 4.0).soft(x, bandwidth=0.5, kernel=kernel), axis=-1)
    assert 0 < dropped[0] < 1
    assert jnp.all(dropped[1:] < 1e-6)
    clipped = Binning(4, 0.0, 4.0, out_of_range="clip").soft(x, bandwidth=0.5, kernel=kernel)
    assert jnp.allclose(jnp.sum(clipped, axis=-1), jnp.array([1, 1, 1, 0, 1]))


@kernels
def test_gradients_of_the_weights_are_finite_everywhere(kernel):
    x = jnp.array([0.0, 1.0, 4.0, -1.0, jnp.inf, -jnp.inf, jnp.nan, 1e30])
    binning = Binning(4, 0.0, 4.0)
    jacobian = jax.jacrev(lambda x: binning.soft(x, bandwidth=1e-3, kernel=kernel))(x)
    assert jnp.all(jnp.isfinite(jacobian))


def test_a_bandwidth_must_be_positive():
    with pytest.raises(ValueError, match="`bandwidth` must be positive"):
        Binning(4, 0.0, 1.0).soft(jnp.ones(1), bandwidth=0.0)


@kernels
def test_the_error_falls_with_the_square_of_the_bandwidth(kernel):
    """For a smooth density: halving the bandwidth quarters the distance from the hard value."""
    weight = jr.normal(jr.key(0), (3, 2))
    narrow = {"linear": 0.2, "gaussian": 0.06}[kernel]
    at = [float(bits(weight, Soft(100_000, h * narrow, kernel))) for h in (4, 2, 1e-3)]
    assert 3 < (at[2] - at[0]) / (at[2] - at[1]) < 5
    # And the limit is the hard value: of the same draws, and the exact one.
    hard = bits(weight, Sampling(100_000), estimator=Jackknife())
    assert jnp.isclose(at[2], hard, atol=2e-3)
    assert jnp.isclose(at[2], bits(weight, Exact(), key=None), atol=0.03)


def test_the_limit_of_a_convolution_and_of_vectors():
    conv = eqx.nn.Conv2d(1, 2, 2, key=KEY)
    model = eqx.nn.Sequential([conv, eqx.nn.Lambda(jax.nn.tanh)])
    topology = jaxinfo.topology_of(model, jnp.zeros((1, 4, 4)))
    options = {"key": KEY, "in_range": (-1, 1), "in_bins": 3, "out_bins": 3}
    options["out_range"] = "dynamic"
    name = topology.names[0]
    matrix = ei_parts_matrix(name, topology, method=Soft(20_000, 1e-3), **options)
    assert matrix.shape == (4, 2)  # a receptive field, and the channels of one position
    hard = ei_parts_matrix(
        name, topology, method=Sampling(20_000), estimator=Jackknife(), **options
    )
    assert jnp.allclose(matrix, hard, atol=1e-3)
    groups = [((0, 1), (0, 1)), ((3,), (1,))]
    soft, hard = (
        eis_between_groups(name, topology, groups, method=method, **options)
        for method in (Soft(20_000, 1e-3), Sampling(20_000))
    )
    # Plug-in values of few states, whose bias of (9 - 1)**2 / (2 N ln 2) soft bins take off.
    assert jnp.allclose(soft, hard, atol=5e-3)


def test_copies_approach_their_bits_more_slowly():
    """Where the density jumps at an edge: in proportion to the bandwidth, up to its logarithm."""
    wire = jaxinfo.Channel.from_weight(jnp.eye(1), in_range=(0, 1), out_range=(0, 1))
    lost = [
        2 - ei_parts(wire, None, key=KEY, in_bins=4, out_bins=4, method=Soft(100_000, h))
        for h in (0.2, 0.1, 0.001)
    ]
    assert 1.5 < lost[0] / lost[1] < 2.2
    assert abs(lost[2]) < 0.01


@kernels
def test_gradients_are_central_differences(kernel, x64):
    """Forward mode for each quantity, and reverse mode as its transpose."""
    weight = jr.normal(jr.key(1), (2, 2))
    direction, weights_of_sum = jr.normal(jr.key(2), (2, 2)), jr.normal(jr.key(3), (3,))
    # Small enough to cross few kinks of the linear kernel, whose derivative jumps there.
    step, tolerance = {"gaussian": (1e-5, 1e-6), "linear": (1e-9, 1e-4)}[kernel]

    def values(weight):
        wire = channel(weight, "tanh")
        options = {"key": KEY, "in_bins": 3, "out_bins": 3, "method": Soft(1000, 0.7, kernel)}
        return jnp.stack([measure(wire, None, **options) for measure in QUANTITIES])

    @jax.jit
    def slopes(weight):
        _, along = jax.jvp(values, (weight,), (direction,))
        return along, jax.grad(lambda w: values(w) @ weights_of_sum)(weight)

    along, gradient = slopes(weight)
    ahead, behind = jax.jit(jax.vmap(values))(
        jnp.stack([weight + step * direction, weight - step * direction])
    )
    assert jnp.allclose(along, (ahead - behind) / (2 * step), rtol=tolerance)
    assert jnp.isclose(jnp.sum(gradient * direction), along @ weights_of_sum, rtol=1e-9)


def test_gradients_are_finite_at_the_edge_points():
    """Silent, equal and saturated weights; and float16 and bfloat16 models."""
    edges = jnp.stack([jnp.zeros((3, 2)), jnp.ones((3, 2)), jnp.full((3, 2), 1e4)])

    def value(weight, activation):
        wire = channel(weight, activation)
        return ei_parts(wire, None, key=KEY, in_bins=4, out_bins=4, method=Soft(1000))

    @jax.jit
    def gradients(edges):
        return [
            jax.vmap(jax.grad(lambda w, a=activation: value(w, a)))(edges)
            for activation in ("sigmoid", "relu", "gelu")
        ]

    assert jnp.all(jnp.isfinite(jnp.stack(gradients(edges))))
    for dtype in (jnp.bfloat16, jnp.float16):
        gradient = jax.jit(jax.grad(lambda w: value(w, "sigmoid")))(edges[1].astype(dtype))
        assert gradient.dtype == dtype and jnp.all(jnp.isfinite(gradient))


def test_vmap_over_models_is_a_loop(getkey):
    weights = jr.normal(getkey(), (3, 2, 2))
    together = jax.vmap(lambda w: bits(w, Soft(1000)))(weights)
    assert jnp.allclose(together, jnp.stack([bits(w, Soft(1000)) for w in weights]), atol=1e-5)


def test_tiles_and_one_table_agree(monkeypatch):
    setting = Setting(channel(jr.normal(jr.key(0), (3, 5))), Binning(4, -1, 1), Binning(4, 0, 1))

    def matrix_and_error():
        found = jax.jit(lambda key: _soft_parts.__wrapped__(setting, key, Soft(1000), True))(KEY)
        return found.matrix, found.standard_error

    whole = matrix_and_error()
    monkeypatch.setattr("jaxinfo.ei._tiles._TILE_CELLS", 2 * 16)
    for one, other in zip(matrix_and_error(), whole, strict=True):
        assert jnp.allclose(one, other, atol=1e-6)


def test_pairs_that_share_nothing_scatter_about_zero(getkey):
    keys = jr.split(getkey(), 20)
    wire = jaxinfo.Channel.from_weight(jnp.eye(2), in_range=(0, 1), out_range=(0, 1))

    def off_diagonal(key):
        return ei_parts_matrix(wire, None, key=key, in_bins=8, out_bins=8, method=Soft(1000, 0.1))[
            0, 1
        ]

    values = jax.vmap(off_diagonal)(keys)
    # A plug-in would show 49 / (2000 ln 2) = 0.035 bits.
    assert abs(jnp.mean(values)) < 4 * jnp.std(values) / 20**0.5 + 2e-3


@pytest.mark.parametrize("quantity", ["parts", "sensitivity", "vector"])
def test_the_standard_error_is_the_scatter_of_repetitions(quantity):
    weight = jnp.array([[1.0, -0.5], [2.0, 0.3], [-1.0, 3.0]])
    setting = Setting(channel(weight), Binning(4, -1.0, 1.0), Binning(4, 0.0, 1.0))

    def once(key):
        if quantity == "vector":
            found = Soft(2000, 0.7).vector(setting, key, (((0, 1), (0, 1)),))
            return found.values[0], found.standard_error[0]
        found = getattr(Soft(2000, 0.7), quantity)(setting, key, None, with_error=True)
        return jnp.sum(found.matrix), found.standard_error

    values, errors = jax.jit(lambda keys: jax.lax.map(once, keys))(jr.split(KEY, 60))
    # A scatter of 60 repetitions is known to 9%.
    assert 0.75 < jnp.mean(errors) / jnp.std(values, ddof=1) < 1.35


def test_any_channel_and_the_bandwidth_have_gradients():
    model = eqx.nn.Sequential(
        [eqx.nn.Linear(3, 4, key=KEY), eqx.nn.Lambda(jnp.sin), eqx.nn.LayerNorm(4)]
    )

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(model_and_bandwidth):
        model, bandwidth = model_and_bandwidth
        wire = jaxinfo.Channel(model, 3, in_range=(-1, 1), out_range=(-2, 2))
        return ei_parts(wire, None, key=KEY, in_bins=4, out_bins=4, method=Soft(1000, bandwidth))

    of_model, of_bandwidth = gradient((model, jnp.array(1.0)))
    assert jnp.any(of_model.layers[0].weight != 0)
    assert of_bandwidth < 0  # blurring loses information


def test_groups_of_one_are_pairs_and_wholes_are_vectors():
    wire = channel(jr.normal(jr.key(0), (2, 2)))
    options = {"key": KEY, "in_bins": 3, "out_bins": 3, "method": Soft(2000)}
    groups = [((a,), (b,)) for a in range(2) for b in range(2)] + [((0, 1), (0, 1))]
    found = eis_between_groups(wire, None, groups, **options)
    assert jnp.allclose(found[:4].reshape(2, 2), ei_parts_matrix(wire, None, **options), atol=1e-5)
    assert jnp.isclose(found[4], ei(wire, None, **options), atol=1e-6)


def test_errors_say_what_to_do():
    for samples in (1001, 0, -2):
        with pytest.raises(ValueError, match="must be even"):
            Soft(samples)
    with pytest.raises(ValueError, match="takes no estimator"):
        bits(jnp.ones((2, 2)), Soft(100), estimator=Jackknife())
    with pytest.raises(ValueError, match="Soft bins need `key=`"):
        bits(jnp.ones((2, 2)), Soft(100), key=None)
    with pytest.raises(ValueError, match="table of all states"):
        ei(channel(jnp.ones((9, 9))), None, key=KEY, method=Soft(100))
    with pytest.raises(ValueError, match="`bandwidth` must be positive"):
        bits(jnp.ones((2, 2)), Soft(100, -1.0))


def test_the_backward_pass_keeps_no_samples():
    """Its memory is that of the tables, however many samples there are."""

    def temporary(samples):
        grad = jax.jit(jax.grad(lambda w: bits(w, Soft(samples), in_bins=16, out_bins=16)))
        analysis = grad.lower(jnp.ones((4, 4))).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    assert temporary(64_000) < 1.2 * temporary(4000)


def test_hard_bins_refuse():
    with pytest.raises(TypeError, match="Soft"):
        jax.grad(lambda w: bits(w, Sampling(1000)))(np.ones((2, 2), np.float32))
