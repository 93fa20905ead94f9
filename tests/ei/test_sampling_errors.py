"""What a sampled answer says of its own error."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

from jaxinfo.ei import Exact, Sampling, Soft, ei_parts, measure, topology_of
from jaxinfo.ei._intervention import Setting
from jaxinfo.info import Binning, Extrapolation, Jackknife, PlugIn
from jaxinfo.network import Channel

KEY = jr.key(3)


def setting(activation="sigmoid", bins=6, out_range=(0.0, 1.0)):
    weight = jnp.array([[1.0, -0.5], [2.0, 0.3], [-1.0, 3.0]])
    channel = Channel.from_weight(weight, None, activation, in_range=(-1, 1), out_range=out_range)
    return Setting(channel, Binning(bins, -1.0, 1.0), Binning(bins, *out_range))


def repeated(sampling, what, times=60, quantity="parts"):
    """Values, standard errors and biases of repetitions with other keys."""

    def once(key):
        result = getattr(sampling, quantity)(what, key, Jackknife(), with_error=True)
        return jnp.sum(result.matrix), result.standard_error, result.bias

    return jax.jit(lambda keys: jax.lax.map(once, keys))(jr.split(KEY, times))


@pytest.mark.parametrize("quantity", ["parts", "sensitivity"])
@pytest.mark.parametrize(
    ("activation", "out_range"), [("sigmoid", (0.0, 1.0)), (None, (-1.0, 1.0))], ids=["in", "out"]
)
def test_the_standard_error_is_the_scatter_of_repetitions(quantity, activation, out_range):
    """Also where half of the samples fall outside, and for a sum of pairs that covary."""
    what = setting(activation, out_range=out_range)
    values, errors, _ = repeated(Sampling(samples=3000), what, quantity=quantity)
    # A scatter of 60 repetitions is known to 9%.
    assert 0.75 < jnp.mean(errors) / jnp.std(values, ddof=1) < 1.35
    off = jnp.abs(values - jnp.mean(values)) / errors
    assert 0.5 < jnp.mean(off < 1) < 0.85
    assert jnp.mean(off < 2) > 0.85


def test_fewer_samples_than_the_error_looks_at():
    what = setting()
    values, errors, _ = repeated(Sampling(samples=500), what)
    assert 0.7 < jnp.mean(errors) / jnp.std(values, ddof=1) < 1.5


@pytest.mark.parametrize(("quantity", "threshold"), [("parts", 0.02), ("sensitivity", 5e-4)])
def test_the_threshold_bounds_error_and_bias(quantity, threshold):
    method = Sampling(threshold=threshold)
    default, plug_in = (
        getattr(method, quantity)(setting(bins=16), KEY, estimator)
        for estimator in (None, PlugIn())
    )
    for result in (default, plug_in):
        assert result.converged
        error = result.standard_error + jnp.abs(result.bias)
        assert error <= threshold * jnp.sum(result.matrix)
    assert 10_000 < plug_in.samples >= default.samples  # it has its bias to bring down


def test_vectors_know_their_error_where_states_are_seen_often():
    what, groups = setting(bins=4), (((0, 1), (0, 1)), ((0,), (1,)))

    def once(key):
        found = Sampling(samples=2000).vector(what, key, groups)
        return found.values, found.standard_error, found.bias

    values, errors, bias = jax.jit(lambda keys: jax.lax.map(once, keys))(jr.split(KEY, 60))
    assert jnp.all(jnp.abs(jnp.mean(errors, 0) / jnp.std(values, 0, ddof=1) - 1) < 0.3)
    truth = Sampling(samples=200_000).vector(what, KEY, groups).values
    left = jnp.abs(jnp.mean(values - bias, 0) - truth)
    assert jnp.all(left < jnp.mean(bias, 0) / 4 + 3 * jnp.std(values, 0) / 60**0.5)
    # 64 bins of three inputs and two outputs: nearly every state is seen once.
    alone = Sampling(samples=2000).vector(setting(bins=64), KEY, (((0, 1, 2), (0, 1)),))
    assert jnp.isnan(alone.standard_error[0]) and jnp.isnan(alone.bias[0])


@pytest.mark.parametrize(
    "method", [Sampling(samples=3000), Soft(3000, 0.2), Exact()], ids=lambda m: type(m).__name__
)
def test_measure_says_what_is_known(method):
    model = eqx.nn.Sequential([eqx.nn.Linear(2, 1, key=KEY), eqx.nn.Lambda(jax.nn.tanh)])
    topology = topology_of(model, jnp.zeros(2))
    exact = isinstance(method, Exact)
    options = {"in_range": (-1, 1), "in_bins": 4, "out_bins": 4, "out_range": (-0.6, 0.9)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is outside
        found = measure(
            topology,
            quantities=["ei_parts", "sensitivity"] if exact else ["ei", "ei_parts", "sensitivity"],
            key=None if exact else KEY,
            method=method,
            **options,
        )["layers.0"]
        truth = measure(
            topology, quantities=["ei_parts", "sensitivity"], method=Exact(), **options
        )["layers.0"]
    for quantity, estimate in found.items():
        assert all(field.shape == () for field in jax.tree_util.tree_leaves(estimate))
        assert estimate.samples == (0 if exact else 3000)
        assert "bits, standard error" in repr(estimate)
        if exact:
            assert estimate.bias == 0 and 0 <= estimate.standard_error < 1e-3
        else:
            assert 0 < estimate.standard_error < 0.1
            assert jnp.isnan(estimate.bias) == isinstance(method, Soft)
        if quantity in truth:
            softness = 0.05 if isinstance(method, Soft) else 1e-4
            slack = 4 * estimate.standard_error + softness
            assert jnp.abs(estimate.value - truth[quantity].value) < slack
            assert jnp.abs(estimate.outside - truth[quantity].outside) < 0.03 + softness


def test_extrapolate_names_the_default_estimator():
    options = {"key": KEY, "samples": 2000, "in_bins": 4, "out_bins": 4}
    channel = setting().channel
    default = ei_parts(channel, None, **options)
    assert ei_parts(channel, None, extrapolate=True, **options) == default
    assert jnp.isclose(ei_parts(channel, None, estimator=Extrapolation(), **options), default)
    with pytest.raises(ValueError, match="Leave one of the two out"):
        ei_parts(channel, None, extrapolate=True, estimator=PlugIn(), **options)
