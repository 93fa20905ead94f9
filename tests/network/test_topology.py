"""Topologies of models of all kinds, and the channels cut from them."""

import functools

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from models import Encoder, Residual, Twice, convolutional

import jaxinfo
from jaxinfo.network import Channel, Topology, topology_of
from jaxinfo.network._program import trace


def mlp(key):
    return eqx.nn.MLP(4, 2, 3, 2, jnp.tanh, key=key), jnp.ones(4)


def normalised_convolution(key):
    def make():
        keys = jr.split(key, 2)
        return eqx.nn.Sequential(
            [
                eqx.nn.Conv1d(2, 3, 3, key=keys[0]),
                eqx.nn.BatchNorm(3, "batch", mode="batch"),
                eqx.nn.Lambda(jax.nn.relu),
                eqx.nn.Conv1d(3, 2, 2, stride=2, key=keys[1]),
            ]
        )

    model, state = eqx.nn.make_with_state(make)()
    # Statistics that do something: the fresh ones are 0 and 1.
    state = jax.tree_util.tree_map(
        lambda a: a + 0.5 if jnp.issubdtype(a.dtype, jnp.floating) else a, state
    )
    return eqx.nn.inference_mode(model), jnp.linspace(-1, 1, 18).reshape(2, 9), state


def dense_function(params, x):
    for weight, bias in params:
        x = jax.nn.sigmoid(x @ weight + bias)
    return x


def function_of_params(key):
    shapes = [(3, 4), (4, 2)]
    params = [(jr.normal(k, s), jnp.ones(s[1])) for k, s in zip(jr.split(key), shapes, strict=True)]
    return functools.partial(dense_function, params), jnp.ones(3)


class Flax(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.relu(nn.Dense(5)(x)))


def flax(key):
    x = jnp.ones(3)
    return functools.partial(Flax().apply, Flax().init(key, x)), x


MODELS = {
    "mlp": (mlp, ["layers.0", "layers.1", "layers.2"]),
    "convolutional": (
        lambda key: (convolutional(key), jnp.linspace(0, 1, 36).reshape(1, 6, 6)),
        ["layers.0", "layers.2", "layers.3", "layers.5", "layers.7"],
    ),
    "normalised": (normalised_convolution, ["layers.0", "layers.3"]),
    "residual": (lambda key: (Residual(4, key=key), jnp.linspace(-1, 1, 4)), ["up", "down"]),
    "encoder": (
        lambda key: (Encoder(key=key), jnp.linspace(-1, 1, 40).reshape(5, 8)),
        [
            *(f"attention.{part}_proj" for part in ("query", "key", "value", "output")),
            "feed.up",
            "feed.down",
            "head",
        ],
    ),
    "twice": (lambda key: (Twice(eqx.nn.Linear(3, 3, key=key)), jnp.ones(3)), ["fc#0", "fc#1"]),
    "function": (function_of_params, ["0", "1"]),
    "flax": (flax, ["params.Dense_1", "params.Dense_0"]),
}


@pytest.fixture(params=MODELS)
def traced(request):
    make, names = MODELS[request.param]
    model, x, *args = make(jr.key(7))
    return model, x, args, names, topology_of(model, x, *args)


def test_names(traced):
    *_, names, topology = traced
    assert list(topology.names) == names


def test_the_last_channel_continues_to_the_models_output(traced):
    """From the first layer's input to the last layer's output is the model, where it is all."""
    model, x, args, names, topology = traced
    out = jax.tree_util.tree_leaves(model(x, *args))[0]
    channel = topology.channel(names[-1], names[0], spatial="full")
    if channel.in_shape == x.shape and channel.out_shape == out.shape and "down" not in names:
        assert jnp.allclose(channel(x), out, atol=1e-6)


def test_affine_channels_are_their_weight_and_bias(traced):
    *_, names, topology = traced
    for name in names:
        channel = topology.channel(name)
        if channel.affine:
            x = jax.random.normal(jr.key(3), channel.in_shape)
            pre = x.ravel() @ channel.weight + channel.bias
            assert jnp.allclose(jnp.ravel(channel.fn(x)), pre, atol=1e-5)
        else:
            assert topology.kind(name) == "max_pool"


def test_nodes_describe_one_example(traced):
    *_, names, topology = traced
    for name in names:
        node = topology.nodes[name]
        full = topology.channel(name, spatial="full")
        assert node["input"]["shape"] == full.in_shape
        assert node["output"]["shape"] == full.out_shape
        assert set(node["input"]) == set(node["output"]) == {"activation", "shape"}


def test_equal_code_is_traced_once(traced):
    model, x, args, _, topology = traced
    again = topology_of(model, x, *args)
    assert again._structure is topology._structure
    scaled = jax.tree_util.tree_map(lambda a: a * 2 if eqx.is_inexact_array(a) else a, model)
    if not isinstance(model, functools.partial):
        assert topology_of(scaled, x, *args)._structure is topology._structure


def test_activations_and_edges():
    model = convolutional(jr.key(0))
    topology = topology_of(model, jnp.zeros((1, 6, 6)))
    kinds = [topology.kind(name) for name in topology.names]
    assert kinds == ["conv", "avg_pool", "conv", "max_pool", "linear"]
    outputs = [str(topology.nodes[n]["output"]["activation"]) for n in topology.names]
    assert outputs == ["relu", "None", "tanh", "None", "None"]
    inputs = [str(topology.nodes[n]["input"]["activation"]) for n in topology.names]
    assert inputs == ["None", "relu", "relu", "tanh", "tanh"]
    assert topology.edges == tuple(zip(topology.names, topology.names[1:], strict=False))
    assert topology.successors("layers.7") == ()
    assert topology.to_networkx().number_of_edges() == 4
    assert "avg_pool" in repr(topology)


def test_attention_is_three_ways_into_one():
    model, x, *_ = MODELS["encoder"][0](jr.key(0))
    topology = topology_of(model, x)
    into = {a for a, b in topology.edges if b == "attention.output_proj"}
    assert into == {"attention.query_proj", "attention.key_proj", "attention.value_proj"}


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (lambda x: jnp.maximum(x, 0), "relu"),
        (lambda x: jnp.where(x > 0, x, 0.0), "relu"),
        (lambda x: 1 / (1 + jnp.exp(-x)), "sigmoid"),
        (lambda x: 0.5 * (1 + jnp.tanh(x / 2)), "sigmoid"),
        (jax.nn.gelu, "gelu_tanh"),
        (functools.partial(jax.nn.gelu, approximate=False), "gelu"),
        (jax.nn.silu, "silu"),
        (jax.nn.softplus, "softplus"),
        (jax.nn.hard_tanh, "hard_tanh"),
    ],
)
def test_an_activation_is_known_by_its_values(write, name):
    def model(params, x):
        return write(x @ params)

    topology = topology_of(functools.partial(model, jnp.ones((3, 2))), jnp.ones(3))
    assert str(topology.nodes["0"]["output"]["activation"]) == name


def test_an_unknown_activation_keeps_its_values_and_bounds():
    def model(params, x):
        return jnp.cos(x @ params) * 3

    topology = topology_of(functools.partial(model, jnp.ones((3, 2))), jnp.ones(3))
    channel = topology.channel("0")
    assert channel.affine
    assert np.allclose(channel.out_range, (-3, 3), atol=1e-3)
    x = jnp.array([0.1, 0.2, 0.3])
    assert jnp.allclose(channel(x), model(jnp.ones((3, 2)), x), atol=1e-6)


def test_one_position_equals_that_position_of_the_whole(getkey):
    model = convolutional(jr.key(0))
    topology = topology_of(model, jnp.zeros((1, 6, 6)))
    for layer, start in [("layers.0", None), ("layers.2", "layers.0"), ("layers.3", "layers.0")]:
        full = topology.channel(layer, start, spatial="full")
        one = topology.channel(layer, start)
        x = jr.normal(getkey(), full.in_shape)
        centre = tuple(size // 2 for size in full.out_shape[1:])
        whole = full(x)[(slice(None), *centre)]
        # Slide a window of the receptive field's size: one of them is the right one.
        c, h, w = one.in_shape
        windows = [
            one(x[:, i : i + h, j : j + w])
            for i in range(x.shape[1] - h + 1)
            for j in range(x.shape[2] - w + 1)
        ]
        assert min(float(jnp.max(jnp.abs(whole - value))) for value in windows) < 1e-5
        assert c == full.in_shape[0]


def test_receptive_fields():
    topology = topology_of(convolutional(jr.key(0)), jnp.zeros((1, 6, 6)))
    assert topology.channel("layers.0").in_shape == (1, 3, 3)
    assert topology.channel("layers.2").in_shape == (2, 2, 2)
    assert topology.channel("layers.2", "layers.0").in_shape == (1, 4, 4)
    # Four by four pixels of the pooling and a border of one: six, of which padding is one.
    assert topology.channel("layers.3", "layers.0").in_shape == (1, 5, 5)


def test_gradients_reach_the_model():
    model = eqx.nn.MLP(3, 2, 4, 1, jnp.tanh, key=jr.key(0))
    x = jnp.array([0.3, -0.2, 0.5])

    def through_channel(model):
        channel = topology_of(model, x).channel("layers.1", "layers.0")
        return jnp.sum(channel(x) ** 2)

    direct = eqx.filter_grad(lambda m: jnp.sum(m(x) ** 2))(model)
    cut = eqx.filter_jit(eqx.filter_grad(through_channel))(model)
    assert eqx.tree_equal(direct, cut, rtol=1e-5, atol=1e-6)


def test_what_bypasses_a_layer_is_held_at_the_example():
    model = Residual(4, key=jr.key(0))
    x = jnp.linspace(-1, 1, 4)

    def head(params, x):
        return params @ (x + jnp.tanh(params @ x))

    params = jr.normal(jr.key(1), (4, 4))
    topology = topology_of(functools.partial(head, params), x)
    inner, outer = topology.names
    # From the second layer's own input: nothing bypasses it.
    assert jnp.allclose(topology.channel(outer)(x), params @ x, atol=1e-6)
    # From the first: `x` is its input, so the skip moves with it.
    assert jnp.allclose(topology.channel(outer, inner)(2 * x), head(params, 2 * x), atol=1e-5)
    down = topology_of(model, x).channel("down", "up")
    h = jnp.ones(4)
    assert jnp.allclose(down(h), model.down(jax.nn.gelu(model.up(h), approximate=False)), atol=1e-5)


def test_modules_name_their_layers():
    model = convolutional(jr.key(0))
    topology = topology_of(model, jnp.zeros((1, 6, 6)))
    assert topology.name_of(model.layers[2]) == "layers.2"
    assert topology.nodes[model.layers[2]] == topology.nodes["layers.2"]
    assert dict(topology.nodes).keys() == set(topology.names)
    assert topology.channel(model.layers[3], model.layers[0]).name == "layers.0 -> layers.3"
    alone = eqx.nn.Linear(2, 2, key=jr.key(0))
    with pytest.raises(ValueError, match="not a part of the model"):
        topology.name_of(alone)
    # A layer is a model too.
    assert topology_of(alone, jnp.ones(2)).channel(alone).out_shape == (2,)


def test_unknown_layer_lists_the_names():
    topology = topology_of(mlp(jr.key(0))[0], jnp.ones(4))
    with pytest.raises(KeyError, match=r"no layer 'layer.1'.*Did you mean 'layers.1'.*'layers.0'"):
        topology.channel("layer.1")


def test_in_layer_after_layer():
    topology = topology_of(mlp(jr.key(0))[0], jnp.ones(4))
    with pytest.raises(ValueError, match=r"does not lead to `layer` 'layers.0'.*'layers.0'"):
        topology.channel("layers.0", "layers.2")


def test_a_layer_used_twice_is_ambiguous():
    topology = topology_of(Twice(eqx.nn.Linear(3, 3, key=jr.key(0))), jnp.ones(3))
    with pytest.raises(ValueError, match=r"used 2 times.*'fc#0', 'fc#1'"):
        topology.channel("fc")
    assert topology.channel("fc#1", "fc#0").in_shape == (3,)


def test_wrong_input_shape_is_the_models_own_complaint():
    with pytest.raises(ValueError, match=r"(?s)does not accept.*\(5,\)"):
        topology_of(mlp(jr.key(0))[0], jnp.ones(5))


def test_an_input_that_is_no_array():
    with pytest.raises(TypeError, match="example input"):
        topology_of(mlp(jr.key(0))[0], [1.0, 2.0])


@pytest.mark.parametrize("model", [jnp.tanh, eqx.nn.LayerNorm(4), lambda x: x * x[0]])
def test_a_model_with_no_layer(model):
    with pytest.raises(ValueError, match="No layer was found"):
        topology_of(model, jnp.ones(4))


def test_a_channel_of_any_function():
    channel = Channel(lambda x: jnp.outer(x, x), 2, in_range=(-1, 1), activation="tanh")
    assert (channel.n_in, channel.n_out, channel.out_range) == (2, 4, (-1.0, 1.0))
    assert channel.with_activation("sigmoid").out_range == (0.0, 1.0)
    with pytest.raises(ValueError, match="no `weight`"):
        _ = channel.weight
    with pytest.raises(TypeError, match="must return one array"):
        Channel(lambda x: (x, x), 2)
    with pytest.raises(ValueError, match="lower < upper"):
        Channel(jnp.tanh, 2, in_range=(1.0, -1.0))


def test_topology_is_a_pytree_of_the_models_arrays():
    topology = topology_of(*mlp(jr.key(0)))
    arrays, rest = eqx.partition(topology, eqx.is_inexact_array)
    doubled = eqx.combine(jax.tree_util.tree_map(lambda a: 2 * a, arrays), rest)
    assert isinstance(doubled, Topology)
    x = jnp.ones(4)
    assert jnp.allclose(
        doubled.channel("layers.0").fn(x), 2 * topology.channel("layers.0").fn(x), atol=1e-6
    )


def test_bfloat16_models():
    model = jax.tree_util.tree_map(
        lambda a: a.astype(jnp.bfloat16) if eqx.is_inexact_array(a) else a, mlp(jr.key(0))[0]
    )
    channel = topology_of(model, jnp.ones(4, jnp.bfloat16)).channel("layers.0")
    assert channel(jnp.ones(4)).dtype == jnp.bfloat16
    assert channel.weight.shape == (4, 3)


def test_top_level_names():
    assert jaxinfo.topology_of is topology_of
    assert jaxinfo.ei.topology_of is topology_of


def test_a_channel_must_end_in_real_numbers():
    with pytest.raises(TypeError, match="real numbers; got complex64.*absolute value"):
        Channel(jnp.fft.fft, (4,))
    assert Channel(jnp.fft.fft, (4,), activation=jnp.abs)(jnp.ones(4)).dtype == jnp.float32


def test_what_is_written_per_platform_is_read_as_for_all_others():
    def operations(**others):
        def fn(x):
            return jax.lax.platform_dependent(x, cpu=lambda x: x + x, **others)

        return [op.name for op in trace(fn, 1.0)[0].ops]

    assert operations(default=lambda x: 2 * x) == ["platform_index", "mul"]
    assert operations(cuda=lambda x: 3 * x - x) == ["platform_index", "cond"]  # left as it is


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.uint8, jnp.int8, bool])
def test_an_example_of_integers_stands_for_numbers(dtype):
    """Images in bytes: an intervention sets real numbers all the same."""
    model = eqx.nn.MLP(3, 2, 4, 1, jnp.tanh, key=jr.key(0))
    channel = topology_of(model, jnp.zeros(3, dtype)).channel("layers.0")
    x = jnp.array([0.5, -0.25, 0.75])
    np.testing.assert_allclose(channel(x), jnp.tanh(model.layers[0](x)), rtol=1e-6)
    np.testing.assert_allclose(channel.weight, model.layers[0].weight.T, rtol=1e-6)


def test_layers_that_do_the_same_are_one_program():
    """Whatever they are called and wherever they stand: what is compiled for one serves the other."""
    model = eqx.nn.MLP(4, 4, 4, 3, key=jr.key(0))
    other = eqx.nn.Sequential([eqx.nn.Linear(4, 4, key=jr.key(1)), eqx.nn.Lambda(jax.nn.relu)])
    found = topology_of(model, jnp.zeros(4))
    channels = [found.channel(name).fn for name in found.names]
    channels.append(topology_of(other, jnp.zeros(4)).channel("layers.0").fn)
    assert len({channel.program for channel in channels}) == 1
    weights = [channel.leaves[0] for channel in channels[:4]]
    for weight, layer in zip(weights, model.layers, strict=True):
        np.testing.assert_array_equal(weight, layer.weight)


def test_layers_that_do_not_the_same_are_not():
    model = eqx.nn.Sequential(
        [
            eqx.nn.Linear(4, 4, key=jr.key(0)),
            eqx.nn.Linear(4, 4, use_bias=False, key=jr.key(1)),
            eqx.nn.Linear(4, 3, key=jr.key(2)),
            eqx.nn.Lambda(lambda x: x * 2),
            eqx.nn.Lambda(lambda x: x * 3),
        ]
    )
    found = topology_of(model, jnp.zeros(4))
    assert len({found.channel(name).fn.program for name in found.names}) == 3
