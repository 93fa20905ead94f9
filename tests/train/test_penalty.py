"""EI as a term of a loss."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
import pytest

from jaxinfo import topology_of
from jaxinfo.ei import Sampling, Soft, ei, ei_parts, sensitivity
from jaxinfo.train import ei_penalty

KEY = jr.key(4)
X = jnp.linspace(-1, 1, 3)
OPTIONS = {"key": KEY, "in_range": (-1, 1), "in_bins": 3, "out_bins": 3}


def make(key=KEY):
    return eqx.nn.MLP(3, 2, 3, 1, jax.nn.tanh, key=key)


@pytest.mark.parametrize("measure", [ei, ei_parts, sensitivity], ids=lambda f: f.__name__)
def test_is_the_weighted_sum_over_layers(measure):
    model, method = make(), Soft(1000)
    topology = topology_of(model, X)
    with_model = ei_penalty(
        model, X, quantity=measure.__name__, method=method, weight=0.5, **OPTIONS
    )
    with_topology = ei_penalty(
        topology, quantity=measure.__name__, method=method, weight=0.5, **OPTIONS
    )
    expected = sum(measure(name, topology, method=method, **OPTIONS) for name in topology.names)
    assert jnp.isclose(with_model, 0.5 * expected)
    assert jnp.isclose(with_topology, with_model)


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
