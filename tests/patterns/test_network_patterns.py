"""A network's own patterns, and the affine map of a region."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxinfo.activations import as_activation
from jaxinfo.network import from_torch, topology_of
from jaxinfo.patterns import (
    linear_regions,
    local_map,
    network_patterns,
    summarise_patterns,
)
from jaxinfo.patterns._network import _kinks

KEY = jr.key(2)


def mlp(activation=jax.nn.relu, depth=2, key=KEY):
    return eqx.nn.MLP(3, 2, 5, depth, activation, key=key)


class Residual(eqx.Module):
    first: eqx.nn.Linear
    second: eqx.nn.Linear
    last: eqx.nn.Linear

    def __init__(self, key):
        keys = jr.split(key, 3)
        self.first = eqx.nn.Linear(3, 4, key=keys[0])
        self.second = eqx.nn.Linear(4, 4, key=keys[1])
        self.last = eqx.nn.Linear(4, 2, key=keys[2])

    def __call__(self, x):
        h = jax.nn.relu(self.first(x))
        return self.last(h + jax.nn.relu(self.second(h)))


def convolutional(key):
    keys = jr.split(key)
    return eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(1, 2, 3, key=keys[0]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.MaxPool2d(2, 2),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(8, 3, key=keys[1]),
        ]
    )


class Branches(eqx.Module):
    """A ReLU on the input, before and after a sum, and on one value twice with opposite signs."""

    first: eqx.nn.Linear
    second: eqx.nn.Linear
    last: eqx.nn.Linear
    norm: eqx.nn.LayerNorm

    def __init__(self, key):
        keys = jr.split(key, 3)
        self.first = eqx.nn.Linear(3, 4, key=keys[0])
        self.second = eqx.nn.Linear(4, 4, key=keys[1])
        self.last = eqx.nn.Linear(8, 2, key=keys[2])
        self.norm = eqx.nn.LayerNorm(4)

    def hidden(self, x):
        """The pre-activations, in order."""
        a = self.first(jax.nn.relu(x))
        b = a + self.second(jax.nn.relu(a))
        return x, a, b, self.norm(jax.nn.relu(b))

    def __call__(self, x):
        *_, c = self.hidden(x)
        return self.last(jnp.concatenate([jax.nn.relu(c), jax.nn.leaky_relu(-c)]))


class PReLU(eqx.Module):
    slope: jax.Array

    def __call__(self, x, *, key=None):
        return jnp.where(x >= 0, x, self.slope * x)


def learned(slopes, width=4):
    keys = jr.split(KEY, 3)
    sizes = ((3, width), (width, width), (width, 2))
    first, second, last = (
        eqx.nn.Linear(*size, key=key) for size, key in zip(sizes, keys, strict=True)
    )
    one, other = (PReLU(jnp.asarray(slope)) for slope in slopes)
    return eqx.nn.Sequential([first, one, second, other, last])


def three_pieces(x):
    return jnp.where(x > 0.4, 3 * x - 1, jnp.where(x < -0.3, -x, 2 * x))


MODELS = {
    "relu": (mlp(), (3,)),
    "leaky relu of another slope": (mlp(lambda x: jnp.where(x > 0, x, 0.25 * x)), (3,)),
    "absolute value": (mlp(jnp.abs), (3,)),
    "residual": (Residual(KEY), (3,)),
    "convolution": (convolutional(KEY), (1, 6, 6)),
    "branches": (Branches(KEY), (3,)),
    "relu6": (mlp(lambda x: jax.nn.relu6(10 * x)), (3,)),
    "hard tanh": (mlp(lambda x: jax.nn.hard_tanh(3 * x)), (3,)),
    "with steps": (mlp(three_pieces), (3,)),
    "prelu": (learned((0.3, [0.1, -0.2, 1.5, 0.7])), (3,)),
}


def test_patterns_by_hand():
    model = mlp()
    X = jr.normal(jr.key(1), (70, 3))
    first = X @ model.layers[0].weight.T + model.layers[0].bias
    second = jax.nn.relu(first) @ model.layers[1].weight.T + model.layers[1].bias
    found = network_patterns(model, X)
    np.testing.assert_array_equal(found["layers.0"].unpack(bool), first >= 0)
    np.testing.assert_array_equal(found["layers.1"].unpack(bool), second >= 0)


KINKS = {
    "relu": (0,),
    "leaky_relu": (0,),
    "relu6": (0, 6),
    "hard_tanh": (-1, 1),
    "hard_sigmoid": (-3, 3),
    "heaviside": (0,),
    "sign": (0,),
    "threshold": (1,),
    **dict.fromkeys(("identity", "elu", "gelu", "tanh", "hard_silu", "softplus", "sine"), ()),
    three_pieces: (-0.3, 0.4),
    (lambda x: jax.nn.relu(x - 1 / 3)): (1 / 3,),
    (lambda x: jnp.abs(jnp.abs(x) - 1)): (-1, 0, 1),
    (lambda x: jnp.clip(x, 0, 20)): (0, 20),
    (lambda x: jnp.clip(x, -31, 14)): (-31, 14),
    (lambda x: 0.975 * x + 0.025 * jax.nn.relu(x)): (0,),
    (lambda x: jnp.minimum(x, 100)): (100,),
    **{f: () for f in (jnp.round, lambda x: 1 / x, jnp.square)},
}


def test_where_activations_have_kinks():
    found = {f: _kinks(as_activation(f)) for f in KINKS}
    assert found == {f: pytest.approx(kinks, abs=1e-6) for f, kinks in KINKS.items()}


def test_a_layer_with_several_kinks():
    """Listed once for each; at a kink exactly, a unit is active unless strict."""
    model = eqx.nn.Sequential(
        [eqx.nn.Linear(1, 1, use_bias=False, key=KEY), eqx.nn.Lambda(jax.nn.relu6)]
    )
    model = eqx.tree_at(lambda m: m.layers[0].weight, model, jnp.array([[2.0]]))
    X = jnp.array([[-1.0], [0.0], [1.0], [3.0], [4.0]])
    for strict, expected in (
        (False, ([0, 1, 1, 1, 1], [0, 0, 0, 1, 1])),
        (True, ([0, 0, 1, 1, 1], [0, 0, 0, 0, 1])),
    ):
        found = network_patterns(model, X, strict=strict)
        assert list(found) == ["layers.0 at 0", "layers.0 at 6"]
        for units, bits in zip(found.values(), expected, strict=True):
            np.testing.assert_array_equal(units.unpack(int)[:, 0], bits)
        slopes = [float(local_map(model, x, strict=strict)[0][0, 0]) for x in X]
        assert slopes == [2.0 * (a and not b) for a, b in zip(*expected, strict=True)]


@pytest.mark.parametrize("activation", [jax.nn.hard_tanh, jax.nn.relu6, PReLU(jnp.array(0.3))])
def test_regions_are_those_of_equal_affine_maps(activation):
    """With one hidden layer, each region of the plane has a map of its own: see the Jacobians."""
    keys = jr.split(jr.key(4))
    first, last = eqx.nn.Linear(2, 5, key=keys[0]), eqx.nn.Linear(5, 2, key=keys[1])
    model = eqx.nn.Sequential([first, eqx.nn.Lambda(activation), last])
    axis = jnp.linspace(-15, 15, 61) + 1e-2
    X = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    regions = np.unique(linear_regions(network_patterns(model, X)))
    W = jax.vmap(jax.jacobian(model))(X)
    b = jax.vmap(model)(X) - jnp.einsum("noi,ni->no", W, X)
    maps = np.round(np.concatenate([W.reshape(len(X), -1), b], axis=1), 3) + 0.0
    _, first = np.unique(maps, axis=0, return_index=True)
    assert len(regions) > 10
    np.testing.assert_array_equal(np.sort(first), regions)


def test_learned_slopes():
    """Bits at 0, and gradients of the map that reach the slopes; under `jit` too."""
    model, xs = MODELS["prelu"][0], jr.normal(jr.key(1), (6, 3))
    found = network_patterns(model, xs)
    assert list(found) == ["layers.0", "layers.2"]
    np.testing.assert_array_equal(
        found["layers.0"].unpack(bool), jax.vmap(model.layers[0])(xs) >= 0
    )

    def size(slope):
        changed = eqx.tree_at(lambda m: m.layers[3].slope, model, slope)
        return jnp.sum(jax.vmap(lambda x: local_map(changed, x)[0])(xs) ** 2)

    slope, along = model.layers[3].slope, jnp.array([1.0, -2.0, 0.5, 1.0])
    grad = jax.jit(jax.grad(size))(slope)
    change = (size(slope + 1e-2 * along) - size(slope - 1e-2 * along)) / 2e-2
    np.testing.assert_allclose(grad @ along, change, rtol=1e-3)
    assert jnp.any(grad != 0)


class Gated(eqx.Module):
    gate: eqx.nn.Linear
    linear: eqx.nn.Linear

    def __call__(self, x):
        return jnp.where(self.gate(x) >= 0, self.linear(x), 0)


def test_gates_are_units():
    """A comparison that selects is a step: true is 1."""
    model = Gated(eqx.nn.Linear(3, 4, key=KEY), eqx.nn.Linear(3, 4, key=jr.key(3)))
    assert str(topology_of(model, jnp.ones(3)).activations["gate"]) == "heaviside"
    X = jr.normal(KEY, (20, 3))
    found = network_patterns(model, X)
    assert list(found) == ["gate"]
    np.testing.assert_array_equal(found["gate"].unpack(bool), jax.vmap(model.gate)(X) >= 0)
    W, b = local_map(model, X[0])
    np.testing.assert_allclose(W, jax.jacobian(model)(X[0]).T, atol=1e-6)
    np.testing.assert_allclose(X[0] @ W + b, model(X[0]), atol=1e-6)


def test_learned_places_of_kinks_do_not_count():
    class Shifted(PReLU):
        def __call__(self, x, *, key=None):
            return jnp.where(x > self.slope, x - self.slope, 0)

    model = eqx.nn.Sequential([eqx.nn.Linear(3, 4, key=KEY), Shifted(jnp.array(0.5))])
    with pytest.raises(ValueError, match="'layers.0': none"):
        network_patterns(model, jnp.ones((2, 3)))
    X = jr.normal(KEY, (5, 4))
    with pytest.warns(UserWarning, match="learned places: 'layers.1'"):
        found = network_patterns(eqx.nn.Sequential([eqx.nn.Lambda(jax.nn.relu), *model]), X[:, :3])
    assert list(found) == ["after input"]


def test_activations_list_no_part_of_another():
    assert list(topology_of(mlp(jax.nn.elu), jnp.ones(3)).activations) == [
        "layers.0",
        "layers.1",
        "layers.2",
    ]


def test_activations_that_end_no_layer():
    model, X = MODELS["branches"][0], jr.normal(jr.key(1), (70, 3))
    found = network_patterns(model, X)
    assert list(found)[:3] == ["after input", "first", "after second#0"] and len(found) == 5
    *hidden, normal = jax.vmap(model.hidden)(X)
    for (layer, units), pre in zip(found.items(), (*hidden, normal, normal), strict=True):
        # The norm's result is not the value compared, bit for bit, but its sign is.
        np.testing.assert_array_equal(units.unpack(bool), pre >= 0, err_msg=layer)


def test_imported_torch_network():
    torch = pytest.importorskip("torch", reason="imports models of torch")

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.enter = torch.nn.Conv2d(1, 2, 3, padding=1)
            self.inner = torch.nn.Conv2d(2, 2, 1)
            self.leave = torch.nn.Linear(18, 2)

        def forward(self, x):
            h = torch.relu(self.enter(x))
            return self.leave(torch.relu(h + self.inner(h)).flatten(1))

    torch.manual_seed(0)
    block, x = Block().eval(), torch.randn(5, 1, 3, 3)
    with torch.no_grad():
        first = block.enter(x)
        second = torch.relu(first) + block.inner(torch.relu(first))
    model, X = from_torch(block, x[:1]), jnp.asarray(x.numpy())
    found = network_patterns(model, X)
    assert list(found) == ["enter", "after inner"]
    for units, pre in zip(found.values(), (first, second), strict=True):
        np.testing.assert_array_equal(units.unpack(bool), pre.reshape(5, -1).numpy() >= 0)
    jacobian = torch.autograd.functional.jacobian(lambda v: block(v[None])[0], x[0])
    np.testing.assert_allclose(
        local_map(model, X[0])[0], jacobian.reshape(2, -1).T.numpy(), atol=1e-5
    )


def test_imported_torch_activations():
    torch = pytest.importorskip("torch", reason="imports models of torch")
    torch.manual_seed(0)
    activations = torch.nn.PReLU(4), torch.nn.PReLU(), torch.nn.Hardtanh(), torch.nn.Softshrink()
    layers = (layer for act in activations for layer in (torch.nn.Linear(4, 4), act))
    net = torch.nn.Sequential(*layers, torch.nn.Linear(4, 4)).eval()
    x = torch.randn(5, 4)
    model, X = from_torch(net, x[:1]), jnp.asarray(x.numpy())
    names = ["0", "2", "4 at -1", "4 at 1", "6 at -0.5", "6 at 0.5"]
    assert list(network_patterns(model, X)) == names
    jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None])[0], x[0])
    np.testing.assert_allclose(local_map(model, X[0])[0], jacobian.T.numpy(), atol=1e-6)


def test_blocks_of_examples():
    """More examples than one block holds."""
    model = eqx.nn.MLP(1, 1, 300, 1, key=KEY)
    X = jnp.linspace(-1, 1, 30_000)[:, None]
    found = network_patterns(model, X)["layers.0"]
    pre = X @ model.layers[0].weight.T + model.layers[0].bias
    assert np.mean(np.asarray(found.unpack(bool)) != (pre >= 0)) < 1e-5  # but for rounding at 0


def test_a_convolution_counts_every_position():
    model, shape = MODELS["convolution"]
    with pytest.warns(UserWarning, match="pooling.*: 'layers.2'"):
        found = network_patterns(model, jr.normal(KEY, (7, *shape)))
    assert {layer: units.shape for layer, units in found.items()} == {"layers.0": (7, 32)}


def test_dead_and_always_active_units():
    layer = eqx.nn.Linear(2, 3, key=KEY)
    layer = eqx.tree_at(
        lambda l: (l.weight, l.bias), layer, (jnp.eye(3, 2), jnp.array([-9.0, 9.0, 0.0]))
    )
    model = eqx.nn.Sequential([layer, eqx.nn.Lambda(jax.nn.relu)])
    X = jr.normal(KEY, (20, 2))
    (summary,) = summarise_patterns(network_patterns(model, X)).values()
    np.testing.assert_array_equal(summary.dead, [True, False, False])
    # The third unit is 0 exactly, which counts as active unless strict.
    np.testing.assert_array_equal(summary.always_active, [False, True, True])
    assert int(summary.distinct_patterns) == 2 and int(summary.distinct_codes) == 1
    (strict,) = summarise_patterns(network_patterns(model, X, strict=True)).values()
    np.testing.assert_array_equal(strict.dead, [True, False, True])


def test_regions_are_equal_codes():
    X = jr.normal(jr.key(1), (200, 3))
    patterns = network_patterns(mlp(), X)
    codes = np.concatenate([np.asarray(units.unpack(bool)) for units in patterns.values()], axis=1)
    expected = [int(np.flatnonzero((codes == code).all(axis=1))[0]) for code in codes]
    np.testing.assert_array_equal(linear_regions(patterns), expected)


def test_regions_on_a_line_are_the_pieces():
    """Along a line, a network of one layer has one piece more than it has kinks."""
    model = eqx.nn.MLP(1, 1, 8, 1, key=KEY)
    kinks = -model.layers[0].bias / model.layers[0].weight[:, 0]
    X = jnp.linspace(float(kinks.min()) - 1, float(kinks.max()) + 1, 20_001)[:, None]
    regions = linear_regions(network_patterns(model, X))
    assert int(jnp.sum(regions == jnp.arange(len(X)))) == 9


@pytest.mark.parametrize("name", MODELS)
def test_local_map_is_the_jacobian(name):
    model, shape = MODELS[name]
    x = jr.normal(jr.key(5), shape)
    W, b = local_map(model, x)
    jacobian = jax.jacobian(lambda v: model(v.reshape(shape)))(x.ravel())
    np.testing.assert_allclose(W, jacobian.T, atol=1e-6)
    np.testing.assert_allclose(x.ravel() @ W + b, model(x), atol=1e-6)


def test_local_map_holds_in_the_whole_region():
    model = mlp()
    X = jr.normal(jr.key(1), (300, 3))
    regions = np.asarray(linear_regions(network_patterns(model, X)))
    largest = np.bincount(regions).argmax()
    inside = X[regions == largest]
    assert len(inside) > 5
    W, b = local_map(model, X[largest])
    np.testing.assert_allclose(inside @ W + b, jax.vmap(model)(inside), atol=1e-5)


def test_side_at_a_kink():
    model = eqx.nn.Sequential(
        [eqx.nn.Linear(1, 1, use_bias=False, key=KEY), eqx.nn.Lambda(jax.nn.relu)]
    )
    model = eqx.tree_at(lambda m: m.layers[0].weight, model, jnp.array([[2.0]]))
    for strict, slope in ((False, 2.0), (True, 0.0)):
        W, _ = local_map(model, jnp.zeros(1), strict=strict)
        assert float(W[0, 0]) == slope


def test_transforms():
    model, xs = mlp(), jr.normal(jr.key(1), (4, 3))
    one_by_one = [local_map(model, x)[0] for x in xs]
    together, _ = jax.jit(jax.vmap(lambda x: local_map(model, x)))(xs)
    np.testing.assert_allclose(together, jnp.stack(one_by_one), atol=1e-6)
    # The gradient reaches the parameters: y_0 = W_0 x + b_0, with the region held.
    grads = eqx.filter_grad(lambda m: jnp.sum(local_map(m, xs[0])[0] ** 2))(model)
    assert jnp.any(grads.layers[0].weight != 0)


def test_topology_in_place_of_a_model():
    model, X = mlp(), jr.normal(KEY, (5, 3))
    topology = topology_of(model, X[0])
    for a, b in zip(
        network_patterns(topology, X).values(), network_patterns(model, X).values(), strict=True
    ):
        np.testing.assert_array_equal(a.words, b.words)


@pytest.mark.parametrize("activation", [jax.nn.tanh, jax.nn.elu, jax.nn.gelu])
def test_other_activations_have_no_patterns(activation):
    with pytest.raises(ValueError, match="layers.0"):
        network_patterns(mlp(activation), jnp.ones((2, 3)))


def test_no_examples_and_integers():
    none = network_patterns(mlp(), jnp.zeros((0, 3)))
    assert {layer: units.shape for layer, units in none.items()} == {
        "layers.0": (0, 5),
        "layers.1": (0, 5),
    }
    x = np.array([1, -2, 3])
    for a, b in zip(local_map(mlp(), x), local_map(mlp(), x.astype(np.float32)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_input():
    with pytest.raises(ValueError, match="`X` must be finite"):
        network_patterns(mlp(), jnp.full((2, 3), jnp.nan))
    topology = topology_of(mlp(), jnp.ones(3))
    with pytest.raises(ValueError, match=r"shape \(3,\) along"):
        network_patterns(topology, jnp.ones((4, 2)))
    with pytest.raises(ValueError, match="same examples"):
        linear_regions({})
    with pytest.raises(KeyError, match="layers.0"):
        topology.run(jnp.ones(3), replace={"no such layer": jnp.sin})


def test_running_a_topology():
    model, x = mlp(), jr.normal(KEY, (3,))
    topology = topology_of(model, jnp.zeros(3))
    values, output = topology.run(x)
    np.testing.assert_allclose(output, model(x), rtol=1e-6)
    np.testing.assert_allclose(values["layers.0"], model.layers[0](x), rtol=1e-6)
    _, linear = topology.run(x, replace={name: lambda z: z for name in ("layers.0", "layers.1")})
    h = x
    for layer in model.layers:
        h = layer(h)
    np.testing.assert_allclose(linear, h, rtol=1e-5)
