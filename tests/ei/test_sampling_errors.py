"""What a sampled answer says of its own error."""

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

from jaxinfo.ei import Sampling, ei_parts
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


def test_the_threshold_bounds_error_and_bias():
    method = Sampling(threshold=0.02)
    default, plug_in = (
        method.parts(setting(bins=16), KEY, estimator) for estimator in (None, PlugIn())
    )
    for result in (default, plug_in):
        assert result.converged
        error = result.standard_error + jnp.abs(result.bias)
        assert error <= 0.02 * jnp.sum(result.matrix)
    assert default.samples < plug_in.samples  # which has its bias to bring down


def test_extrapolate_names_the_default_estimator():
    options = {"key": KEY, "samples": 2000, "in_bins": 4, "out_bins": 4}
    channel = setting().channel
    default = ei_parts(channel, None, **options)
    assert ei_parts(channel, None, extrapolate=True, **options) == default
    assert jnp.isclose(ei_parts(channel, None, estimator=Extrapolation(), **options), default)
    with pytest.raises(ValueError, match="Leave one of the two out"):
        ei_parts(channel, None, extrapolate=True, estimator=PlugIn(), **options)
