"""Gradients of exact EI: central differences, both modes, the edge points, compiled."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxinfo import Channel
from jaxinfo.ei import Exact, ei_parts, sensitivity, topology_of

pytestmark = pytest.mark.filterwarnings("ignore:.*fell outside.*")


def bits(weight, bias, activation="sigmoid", measured=ei_parts, bins=6):
    layer = Channel.from_weight(weight, bias, activation, in_range=(-1.0, 1.5))
    return measured(layer, None, method=Exact(), in_bins=bins, out_bins=bins, out_range=(-0.2, 1.1))


@pytest.mark.parametrize(
    "measured, activation, n_in",
    [
        (ei_parts, "sigmoid", 3),
        (ei_parts, "gelu", 2),
        (ei_parts, "sigmoid", 14),
        (sensitivity, "tanh", 3),
    ],
    ids=("boxes", "two branches", "series", "sensitivity"),
)
def test_equals_central_differences(measured, activation, n_in, x64, getkey):
    weight, bias = jr.normal(getkey(), (n_in, 1)), jr.normal(getkey(), (1,)) / 3
    direction = jr.normal(getkey(), weight.shape), jr.normal(getkey(), bias.shape)

    def along(s):
        return bits(weight + s * direction[0], bias + s * direction[1], activation, measured)

    forward = jax.jit(lambda s: jax.jvp(along, (s,), (jnp.ones(()),)))
    h = 1e-4
    (a, _), (b, _), (_, slope), (c, _), (d, _) = (
        forward(k * h) for k in (-2.0, -1.0, 0.0, 1.0, 2.0)
    )
    # Fourth order, so that the error is that of rounding.
    expected = (8 * (c - b) - (d - a)) / (12 * h)
    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(jax.jit(jax.grad(along))(0.0), expected, rtol=1e-6, atol=1e-8)


EDGES = {
    "zero": jnp.zeros((4, 1)),
    "one wire": jnp.array([[1.0], [0.0], [0.0], [0.0]]),
    "equal": jnp.full((4, 1), 0.5),
    "saturated": jnp.full((4, 1), 300.0),
    "tiny": jnp.array([[1.0], [1e-6], [1e-30], [0.0]]),
    "opposite": jnp.array([[2.0], [-2.0], [2.0], [-2.0]]),
    "many zeros": jnp.zeros((12, 1)).at[3, 0].set(1.0),
    "many equal": jnp.full((12, 1), 0.1),
}


@pytest.mark.parametrize("name", EDGES)
def test_finite_at_the_edge_points(name):
    # Not jitted as a whole, so that the columns of both activations share their compilation.
    for activation in ("sigmoid", "relu"):
        step = jax.value_and_grad(lambda w, b, f=activation: bits(w, b, f), argnums=(0, 1))
        value, gradient = step(EDGES[name], jnp.zeros(1))
        assert all(np.all(np.isfinite(x)) for x in (value, *gradient)), activation


def test_a_weight_of_zero_is_a_minimum_of_its_own_pair():
    weight = jnp.array([[0.0], [0.7], [-0.3], [0.2]])
    gradient = jax.grad(lambda w: bits(w, jnp.zeros(1), "tanh"))(weight)
    assert jnp.isfinite(gradient).all()


def test_reaches_a_model_and_trains_it_without_compiling_again(getkey):
    model = eqx.nn.MLP(3, 2, 4, 1, jax.nn.sigmoid, key=getkey())
    traces = []

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def loss(model):
        traces.append(1)
        topology = topology_of(model, jnp.zeros(3))
        return -ei_parts("layers.1", topology, method=Exact(), in_bins=4, out_bins=4,
                         out_range=(-2.0, 2.0))  # fmt: skip

    values = []
    for _ in range(4):
        value, gradient = loss(model)
        values.append(float(value))
        model = eqx.apply_updates(model, jax.tree.map(lambda g: -0.05 * g, gradient))
    assert values == sorted(values, reverse=True) and len(set(values)) == 4
    assert len(traces) == 1


def test_vmap_is_a_loop(getkey):
    weights = jr.normal(getkey(), (2, 3, 1))
    together = jax.vmap(lambda w: bits(w, jnp.zeros(1)))(weights)
    alone = jnp.stack([bits(w, jnp.zeros(1)) for w in weights])
    np.testing.assert_allclose(together, alone, rtol=1e-5)
