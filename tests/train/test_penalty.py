"""EI as a term of a loss."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
import pytest

from jaxinfo import topology_of
from jaxinfo.ei import Exact, Sampling, Soft, ei, ei_parts, measure as measured, sensitivity
from jaxinfo.train import ei_penalty

KEY = jr.key(4)
X = jnp.linspace(-1, 1, 3)
OPTIONS = {"key": KEY, "in_range": (-1, 1), "in_bins": 3, "out_bins": 3}


def make(key=KEY):
    return eqx.nn.MLP(3, 2, 3, 1, jax.nn.tanh, key=key)


@pytest.mark.parametrize("method", [Soft(500), Exact()], ids=lambda m: type(m).__name__)
def test_is_the_weighted_sum_over_layers(method):
    model, topology = make(), topology_of(make(), X)
    cases = [
        (ei_parts, topology.names, {}),
        (ei_parts, ["layers.0"], {"layers": [model.layers[0]]}),
    ]
    if isinstance(method, Soft):
        cases.append((sensitivity, topology.names, {"quantity": "sensitivity"}))
    for measure, names, options in cases:
        expected = sum(measure(name, topology, method=method, **OPTIONS) for name in names)
        found = ei_penalty(model, X, method=method, weight=0.5, **options, **OPTIONS)
        assert jnp.isclose(found, 0.5 * expected, atol=1e-6) and found > 0
    with_topology = ei_penalty(topology, layers=["layers.0"], method=method, weight=1, **OPTIONS)
    assert jnp.isclose(with_topology, ei_parts("layers.0", topology, method=method, **OPTIONS))


def test_vector_ei_and_ranges_are_passed_on():
    options = OPTIONS | {"out_range": (-3, 3), "out_bins": 4}
    topology = topology_of(make(), X)
    penalty = ei_penalty(
        topology, layers=["layers.1"], quantity="ei", method=Soft(500), weight=-2.0, **options
    )
    assert jnp.isclose(penalty, -2 * ei("layers.1", topology, method=Soft(500), **options))


@pytest.mark.parametrize("method", [Soft(500), Exact()], ids=lambda m: type(m).__name__)
def test_a_jitted_step_compiles_once_and_follows_the_gradient(method):
    traces = []
    optimiser = optax.adam(0.02)
    params, static = eqx.partition(make(), eqx.is_inexact_array)
    options = {name: value for name, value in OPTIONS.items() if name != "key"}

    def loss(params, weight, key):
        model = eqx.combine(params, static)
        return ei_penalty(
            model, X, layers=["layers.0"], method=method, weight=weight, key=key, **options
        )

    @jax.jit
    def step(params, state, weight, key):
        traces.append(None)
        value, grads = jax.value_and_grad(loss)(params, weight, key)
        updates, state = optimiser.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    state, values = optimiser.init(params), []
    for weight in (1.0, 1.0, 1.0, 2.0):
        params, state, value = step(params, state, jnp.array(weight), KEY)
        values.append(value / weight)
    assert len(traces) == 1
    assert values[0] > values[1] > values[2] > values[3]


def test_moves_ei_both_ways_in_a_jitted_step_over_several_models():
    optimiser = optax.adam(0.05)

    def penalty(model, weight):
        method = Soft(1000)
        return ei_penalty(model, X, layers=["layers.0"], method=method, weight=weight, **OPTIONS)

    def run(key, weight):
        params, static = eqx.partition(make(key), eqx.is_inexact_array)

        def step(carry, _):
            params, state = carry
            grads = jax.grad(lambda p: penalty(eqx.combine(p, static), weight))(params)
            updates, state = optimiser.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        start = penalty(eqx.combine(params, static), 1.0)
        (params, _), _ = jax.lax.scan(step, (params, optimiser.init(params)), length=15)
        return penalty(eqx.combine(params, static), 1.0) - start

    keys = jr.split(KEY, 2)
    moved = jax.jit(jax.vmap(jax.vmap(run, (0, None)), (None, 0)))(keys, jnp.array([1.0, -1.0]))
    assert jnp.all(moved[0] < -0.05)
    assert jnp.all(moved[1] > 0.05)


def test_hard_bins_refuse_and_unknown_names_are_told():
    with pytest.raises(TypeError, match=r"Soft\(\)"):
        eqx.filter_grad(lambda m: ei_penalty(m, X, method=Sampling(100), weight=1.0, **OPTIONS))(
            make()
        )
    with pytest.raises(KeyError, match="layers.0"):
        ei_penalty(make(), X, layers=["layers.7"], method=Soft(100), weight=1.0, **OPTIONS)
    for layers in ("layers.0", []):
        with pytest.raises(ValueError, match="`layers` must be a list"):
            ei_penalty(make(), X, layers=layers, method=Soft(100), weight=1.0, **OPTIONS)
        with pytest.raises(ValueError, match="`layers` must be a list"):
            measured(topology_of(make(), X), layers=layers, key=KEY)
    with pytest.raises(TypeError, match="exact"):  # by the annotation, where it is checked
        ei_penalty(make(), X, method="exact", weight=1.0, **OPTIONS)
    with pytest.raises(TypeError, match="`x` must be an example"):
        ei_penalty(make(), method=Exact(), weight=1.0)
