"""Models from torch: equal outputs and gradients, torch's names, refusals, files, Flax."""

import subprocess
import sys

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
from flax import nnx

from jaxinfo.ei import ei_parts
from jaxinfo.network import (
    ImportMismatch,
    UnsupportedOperators,
    _flax,
    from_flax,
    from_torch,
    load_torch_weights,
    to_torch_state_dict,
    topology_of,
    torch_operator,
)
from jaxinfo.network._torch._table import OPERATORS

torch = pytest.importorskip("torch")

import torch_zoo  # noqa: E402
from torch import nn  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def without_optimisation():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def net():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
    )


X = np.random.default_rng(0).normal(size=(2, 1, 6, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def imported():
    return from_torch(net(), torch.from_numpy(X))


def names(tree):
    leaves = jtu.tree_flatten_with_path(tree)[0]
    return {jtu.keystr(path, simple=True, separator=".") for path, _ in leaves}


def first(value):
    return jtu.tree_map(lambda leaf: leaf[0], value)


@pytest.mark.parametrize("make", torch_zoo.ZOO, ids=lambda make: make.__name__)
def test_zoo_imports_and_verifies(make):
    model, example = torch_zoo.build(make)
    imported = from_torch(model, example)
    assert imported.report.outputs < 1e-5
    assert max(imported.report.gradients.values()) < 1e-5
    assert set(imported.report.gradients) == {name for name, _ in model.named_parameters()}
    assert set(imported.state_dict()) == set(model.state_dict())
    assert model.training
    # One example, without a batch axis, is a row of the batch.
    arrays = jtu.tree_map(lambda t: jnp.asarray(t.numpy()), example)
    kwargs = arrays if isinstance(example, dict) else {}
    args = () if isinstance(example, dict) else (arrays,)
    single = eqx.filter_jit(lambda m, a, k: m(*a, **k))(imported, first(args), first(kwargs))
    with torch.no_grad():
        model.eval()
        batch = model(**example) if isinstance(example, dict) else model(example)
    for a, b in zip(jtu.tree_leaves(single), jtu.tree_leaves(batch), strict=True):
        np.testing.assert_allclose(a, b[0].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    (torch_zoo.resnet, torch_zoo.gpt, torch_zoo.lstm_tagger, torch_zoo.autoencoder),
    ids=lambda make: make.__name__,
)
def test_zoo_in_double_precision(make, x64):
    model, example = torch_zoo.build(make)
    example = example.double() if example.is_floating_point() else example
    report = from_torch(model.double(), example).report
    assert report.tolerance == 1e-10
    assert max(report.outputs, *report.gradients.values()) < 1e-10


def test_paths_are_the_names_of_the_state_dict(imported):
    assert names(imported) == set(net().state_dict())
    torch_names = list(net().state_dict())
    assert list(imported.state_dict()) == torch_names


def test_parametrised_layers_have_the_name_of_the_layer():
    model, example = torch_zoo.build(torch_zoo.fourier)
    imported = from_torch(model, example, verify=False)
    topology = topology_of(imported, *(jnp.asarray(t[0].numpy()) for t in example.values()))
    assert topology.names == ("modes", "spectral", "weight", "orthogonal")


def test_inputs_by_name_or_position():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x, mask=None, *, scale=None, twice=True):
            y = self.fc(x) * (1 if mask is None else mask[:, None]) * scale
            return y + y if twice else y

    x, scale = torch.randn(2, 3), torch.rand(2, 1)
    model = Scaled()
    imported = from_torch(model, {"scale": scale, "x": x, "twice": True}, verify=False)
    expected = model(x, scale=scale).detach().numpy()
    x, scale = x.numpy(), scale.numpy()
    for found in (
        imported(x, scale),
        imported(x, scale=scale),
        imported(scale=scale, x=x),
        imported(x, scale, twice=True),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(imported(x[1], scale[1]), expected[1], rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match=r"inputs \(x, scale, twice\)"):
        imported(x)
    with pytest.raises(TypeError, match="by name"):
        imported(x, scale, x=x)
    with pytest.raises(TypeError, match="other"):
        imported(x, scale, other=1)
    with pytest.raises(ValueError, match="plain value True"):
        imported(x, scale, twice=False)


def test_batches_that_nothing_makes_equal_are_one_batch():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(2, 2)

        def forward(self, x, y):
            return self.a(x), self.b(y)

    imported = from_torch(Two(), (torch.randn(2, 3), torch.randn(2, 2)), verify=False)
    for shape, given in (((2,), ((3,), (2,))), ((5, 2), ((5, 3), (5, 2)))):
        assert [y.shape for y in imported(*map(jnp.ones, given))] == [shape, shape]


def test_two_batches_in_one_array_are_two_batches_again():
    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, a, b):
            u, v = self.fc(torch.cat([a, b])).chunk(2)
            return (u * v).sum(-1)

    a, b = torch.randn(2, 3), torch.randn(2, 3)
    imported = from_torch(Siamese(), (a, b), verify=False)
    whole = imported(a.numpy(), b.numpy())
    one = imported(a[1].numpy(), b[1].numpy())
    assert one.shape == ()
    np.testing.assert_allclose(one, whole[1], rtol=1e-5)


def test_a_model_that_reads_the_size_of_its_batch():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return torch.stack([self.fc(row) for row in x])

    class Share(Loop):
        def forward(self, x):
            return self.fc(x) / float(x.shape[0])

    x = torch.randn(2, 3)
    imported = from_torch(Loop(), x)
    expected = jax.vmap(imported)(np.ones((5, 3), np.float32))
    np.testing.assert_allclose(imported(jnp.ones((5, 3))), expected, rtol=1e-6)
    assert imported(jnp.ones(3)).shape == (2,)
    depends = from_torch(Share(), x, verify=False)  # an example alone is another result
    assert depends(jnp.ones((2, 3))).shape == (2, 2)
    with pytest.raises(ValueError, match=r"\(2, 3\) that the model was imported with"):
        depends(jnp.ones(3))


def test_models_of_mixed_precision_are_judged_by_the_coarsest():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4).bfloat16(), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(self.a(x.bfloat16()).float())

    report = from_torch(Mixed(), torch.randn(2, 3)).report
    assert report.tolerance == 5e-2 and report.outputs < 2e-2


def test_compiled_transformers_with_a_mask():
    torch.manual_seed(0)
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 5, batch_first=True), 1)
    mask = nn.Transformer.generate_square_subsequent_mask(3)

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.decoder = torch.compile(model)

        def forward(self, x):  # torch looks whether the mask is causal, a decision on data
            return self.decoder(x, x, tgt_mask=mask)

    assert from_torch(Decoder(), torch.randn(2, 3, 4)).report.outputs < 1e-5
    assert torch.backends.opt_einsum.enabled
    assert torch.nn.modules.transformer._detect_is_causal_mask(mask)


def test_gradients_that_torch_was_told_are_refused():
    class Straight(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return (x > 0).float()

        @staticmethod
        def backward(ctx, slope):
            return slope

    class Binary(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return Straight.apply(self.fc(x))

    with pytest.raises(ImportMismatch, match="gradient of fc.weight"):
        from_torch(Binary(), torch.randn(2, 3))


def test_batch_size_is_free(imported):
    batch = jnp.asarray(np.random.default_rng(1).normal(size=(5, 1, 6, 6)), jnp.float32)
    expected = net().eval()(torch.from_numpy(np.array(batch))).detach().numpy()
    np.testing.assert_allclose(imported(batch), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(imported)(batch), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(eqx.filter_jit(imported)(batch), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(imported(batch[3]), expected[3], rtol=1e-5, atol=1e-6)


def test_topology_has_the_names_of_torch():
    model, example = torch_zoo.build(torch_zoo.lenet)
    topology = topology_of(from_torch(model, example, verify=False), jnp.zeros((1, 14, 14)))
    found = {
        name: (topology.kind(name), str(node["output"]["activation"]), node["input"]["shape"])
        for name, node in topology.nodes.items()
    }
    assert found == {
        "features.0": ("conv", "relu", (1, 14, 14)),
        "features.2": ("max_pool", "None", (3, 12, 12)),
        "features.3": ("conv", "relu", (3, 6, 6)),
        "features.5": ("avg_pool", "None", (4, 6, 6)),
        "classifier.0": ("linear", "gelu", (64,)),
        "classifier.2": ("linear", "None", (8,)),
    }
    assert topology.successors("features.3") == ("features.5",)


@pytest.mark.parametrize(("kind", "batch_axis"), ((nn.LSTM, 0), (nn.GRU, 1)))
def test_topology_of_both_directions(kind, batch_axis):
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            options = dict(num_layers=2, bidirectional=True, batch_first=batch_axis == 0)
            self.rnn, self.out = kind(3, 2, **options), nn.Linear(4, 2)

        def forward(self, x):
            return self.out(self.rnn(x)[0])

    example = torch.randn(2, 5, 3).transpose(0, batch_axis)
    imported = from_torch(Tagger(), example, verify=False, batch_axis=batch_axis)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    topology = topology_of(imported, x)
    gates = 2 * (4 if kind is nn.LSTM else 3)
    shapes = {n: (v["input"]["shape"], v["output"]["shape"]) for n, v in topology.nodes.items()}
    assert shapes == {
        "rnn#0": ((5, 3), (5, gates)),
        "rnn#1": ((5, 3), (5, gates)),
        "rnn#2": ((5, 4), (5, gates)),
        "rnn#3": ((5, 4), (5, gates)),
        "out": ((5, 4), (5, 2)),
    }
    assert topology.edges == (
        ("rnn#0", "rnn#2"), ("rnn#0", "rnn#3"), ("rnn#1", "rnn#2"), ("rnn#1", "rnn#3"),
        ("rnn#2", "out"), ("rnn#3", "out"),
    )  # fmt: skip
    whole = topology.channel("out", "rnn#0", spatial="full")
    np.testing.assert_allclose(whole(x), imported(x), rtol=1e-5, atol=1e-6)
    batch = jnp.stack([x, x + 1], batch_axis)
    mapped = jax.vmap(imported, batch_axis, batch_axis)(batch)
    np.testing.assert_allclose(imported(batch), mapped, rtol=1e-5, atol=1e-6)


def test_a_product_of_a_parameter_and_a_second_input_is_the_parameters():
    class Bilinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.b, self.out = nn.Bilinear(3, 4, 5), nn.Linear(5, 2)

        def forward(self, x, y):
            return self.out(torch.tanh(self.b(x, y)))

    torch.manual_seed(0)
    model, y = Bilinear(), torch.randn(4)
    imported = from_torch(model, (torch.randn(2, 3), torch.randn(2, 4)), verify=False)
    topology = topology_of(imported, jnp.zeros(3), jnp.asarray(y.numpy()))
    assert topology.names == ("b", "out")
    ends = topology.nodes["b"]
    assert (ends["input"]["shape"], ends["output"]["shape"]) == ((3,), (5,))
    weight = torch.einsum("oij,j->io", model.b.weight, y).detach().numpy()
    np.testing.assert_allclose(topology.channel("b").weight, weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "name"),
    (
        (nn.ReLU(), "relu"),
        (nn.Tanh(), "tanh"),
        (nn.Sigmoid(), "sigmoid"),
        (nn.GELU(), "gelu"),
        (nn.GELU(approximate="tanh"), "gelu_tanh"),
        (nn.SiLU(), "silu"),
        (nn.ELU(), "elu"),
        (nn.SELU(), "selu"),
        (nn.LeakyReLU(), "leaky_relu"),
        (nn.ReLU6(), "relu6"),
        (nn.Hardtanh(), "hard_tanh"),
        (nn.Softplus(), "softplus"),
        (nn.Softsign(), "soft_sign"),
    ),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_activation_is_recognised(module, name):
    model = nn.Sequential(nn.Linear(3, 2), module)
    topology = topology_of(from_torch(model, torch.randn(2, 3), verify=False), jnp.zeros(3))
    assert str(topology.nodes["0"]["output"]["activation"]) == name


def test_effective_information_of_an_imported_layer_is_that_of_its_weights():
    weight = np.array([[1.0, -2.0, 0.5], [0.3, 0.2, -1.0]], np.float32)
    model = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid())
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(weight))
    ours = eqx.nn.Sequential([eqx.nn.Linear(3, 2, key=jr.key(0)), eqx.nn.Lambda(jax.nn.sigmoid)])
    ours = eqx.tree_at(
        lambda m: (m.layers[0].weight, m.layers[0].bias),
        ours,
        (jnp.asarray(weight), jnp.asarray(model[0].bias.detach().numpy())),
    )
    options = dict(key=jr.key(1), samples=500, in_bins=4, out_bins=4)
    imported = topology_of(from_torch(model, torch.randn(1, 3)), jnp.zeros(3))
    direct = topology_of(ours, jnp.zeros(3))
    assert float(ei_parts("0", imported, **options)) == pytest.approx(
        float(ei_parts("layers.0", direct, **options)), abs=1e-5
    )


def test_what_torch_cannot_differentiate_is_said():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x):
            y = self.linear(x).relu()
            y[:, 0] = 1.0  # overwrites what the gradient of `relu` needs
            return y

    x = torch.randn(2, 3)
    with pytest.raises(ValueError, match="cannot differentiate this model: .* in.?place"):
        from_torch(InPlace(), x)
    model = InPlace()
    imported = from_torch(model, x, verify=False)
    with torch.no_grad():
        np.testing.assert_allclose(imported(jnp.asarray(x.numpy())), model(x).numpy(), rtol=1e-5)


def test_buffers_are_state_without_gradient(imported):
    gradient = eqx.filter_grad(lambda m: jnp.sum(m(X) ** 2))(imported).state_dict()
    for name, is_trained in imported.trainable.state_dict().items():
        assert is_trained == (name in dict(net().named_parameters()))
        if name.endswith(("running_mean", "running_var")):
            assert not np.any(gradient[name])
        elif is_trained:
            assert np.any(gradient[name])


def test_tied_parameters_are_one_leaf():
    model, example = torch_zoo.build(torch_zoo.gpt)
    imported = from_torch(model, example, verify=False)
    assert "lm_head.weight" not in names(imported)
    changed = eqx.tree_at(lambda m: m.wte["weight"], imported, jnp.zeros((17, 8)))
    assert not np.any(changed.state_dict()["lm_head.weight"])
    assert not np.any(changed(jnp.asarray(example.numpy())))
    assert not to_torch_state_dict(changed)["lm_head.weight"].any()


def test_blocks_without_gradient_stay_without():
    class Stops(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            with torch.no_grad():
                y = torch.tanh(self.a(x))
            return self.b(x) * y

    imported = from_torch(Stops(), torch.randn(2, 3))
    gradient = eqx.filter_grad(lambda m: jnp.sum(m(jnp.ones(3))))(imported)
    assert not np.any(gradient.a["weight"]) and np.any(gradient.b["weight"])


def test_time_first_and_unbatched_models():
    gru = nn.GRU(3, 4)
    imported = from_torch(gru, torch.randn(5, 2, 3), batch_axis=1)
    output, state = imported(jnp.ones((5, 3)))
    assert output.shape == (5, 4) and state.shape == (1, 4)
    whole, _ = imported(jnp.ones((5, 7, 3)))
    np.testing.assert_allclose(whole[:, 2], output, rtol=1e-5, atol=1e-6)
    linear = from_torch(nn.Linear(3, 2), torch.randn(3))
    assert linear(jnp.ones(3)).shape == (2,) and linear(jnp.ones((4, 3))).shape == (4, 2)


def test_unsupported_operators_are_listed_together():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.i0e(x) + torch.special.bessel_j0(x)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.fc, self.last = Odd(), nn.Linear(3, 3), Odd()

        def forward(self, x):
            return self.last(self.fc(self.first(x)))

    with pytest.raises(UnsupportedOperators) as caught:
        from_torch(Outer(), torch.randn(2, 3))
    message = str(caught.value)
    for text in ("aten.special_i0e.default", "aten.special_bessel_j0.default", "first, last"):
        assert text in message
    assert "@jaxinfo.network.torch_operator('aten.special_i0e.default')" in message


def test_what_depends_on_the_values_of_the_data_is_refused_in_words():
    def selects(x):
        return torch.special.bessel_j0(x[x > 0]), torch.nonzero(x)

    with pytest.raises(UnsupportedOperators) as caught:
        from_torch(nn.Sequential(nn.Identity(), torch_zoo.Function(selects)), torch.randn(2, 3))
    message = str(caught.value)
    for operator in ("aten.index.Tensor", "aten.nonzero.default"):
        assert f"{operator}  used by 1, with a result whose shape depends on the data" in message
    assert "torch_operator('aten.special_bessel_j0.default')" in message and "mask" in message
    with pytest.raises(NotImplementedError, match="torch.export cannot .*(?s:.*)torch.where"):
        from_torch(torch_zoo.Function(lambda x: x if x.sum() > 0 else -x), torch.randn(2, 3))


def test_an_operator_can_be_registered(monkeypatch):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.i0e(x)

    monkeypatch.setitem(OPERATORS, "aten.special_i0e.default", None)
    torch_operator("aten.special_i0e.default", pointwise=True)(jax.scipy.special.i0e)
    report = from_torch(nn.Sequential(nn.Linear(3, 3), Odd()), torch.randn(2, 3)).report
    assert report.outputs < 1e-5 and report.layers["1"] < 1e-5


def test_a_wrong_operator_is_found_out(monkeypatch):
    right = OPERATORS["aten.tanh.default"]
    monkeypatch.setitem(OPERATORS, "aten.tanh.default", right)
    torch_operator("aten.tanh.default", pointwise=True)(lambda x: jnp.tanh(x) + 1e-3)
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    with pytest.raises(ImportMismatch, match="layer 1"):
        from_torch(model, torch.randn(2, 3))
    torch_operator("aten.tanh.default", pointwise=True)(  # right value, wrong gradient
        lambda x: jax.lax.stop_gradient(jnp.tanh(x))
    )
    with pytest.raises(ImportMismatch, match="gradient of 0.weight"):
        from_torch(model, torch.randn(2, 3))


def test_wrong_input_is_refused(imported):
    with pytest.raises(ValueError, match=r"\(batch, 1, 6, 6\).*\(1, 6, 6\) for one example"):
        imported(jnp.zeros((2, 1, 5, 5)))
    with pytest.raises(ValueError, match="does not accept `example_input`"):
        from_torch(net(), torch.randn(2, 7))
    with pytest.raises(TypeError, match="example_input"):
        from_torch(net())
    with pytest.raises(ValueError, match="jax_enable_x64"):
        from_torch(net().double(), torch.from_numpy(X).double())
    with pytest.raises(TypeError, match="torch.nn.Module"):
        from_torch(lambda x: x, torch.zeros(2))


@pytest.mark.parametrize("ending", ("pt", "safetensors", "npz"))
def test_weights_from_files(ending, imported, tmp_path):
    torch.manual_seed(2)
    other = net()
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other[1].num_batches_tracked.fill_(7)
    path = tmp_path / f"weights.{ending}"
    save(other.state_dict(), path)
    loaded = load_torch_weights(imported, path)
    expected = other.eval()(torch.from_numpy(X)).detach()
    np.testing.assert_allclose(loaded(X), expected, rtol=1e-4, atol=1e-5)
    assert int(loaded.state_dict()["1.num_batches_tracked"]) == 7
    back = to_torch_state_dict(loaded)
    assert back["1.num_batches_tracked"].dtype == torch.int64
    assert all(torch.equal(value, back[name]) for name, value in other.state_dict().items())


def save(state, path):
    if path.suffix == ".pt":
        torch.save(state, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    else:
        pytest.importorskip("safetensors.torch").save_file(state, path)


def test_safetensors_in_sixteen_bits(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    values = torch.randn(2, 3).bfloat16()
    safetensors.save_file({"weight": values, "bias": torch.zeros(2)}, tmp_path / "w.safetensors")
    linear = load_torch_weights(eqx.nn.Linear(3, 2, key=jr.key(0)), tmp_path / "w.safetensors")
    assert np.array_equal(linear.weight, values.float().numpy())


def test_what_does_not_match_is_listed(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, weight=np.ones((3, 2), np.float32), extra=np.zeros(4, np.float32))
    linear = eqx.nn.Linear(3, 2, key=jr.key(0))
    with pytest.raises(ValueError) as caught:
        load_torch_weights(linear, path)  # the transposed weight must not slip through
    for text in ("weight of shape (2, 3)", "shape (3, 2)", "no bias", "extra of shape (4,)"):
        assert text in str(caught.value)
    with pytest.warns(UserWarning, match="no bias"):
        loaded = load_torch_weights(
            linear, path, {"weight": ("weight", jnp.transpose)}, strict=False
        )
    assert np.all(np.asarray(loaded.weight) == 1) and np.array_equal(loaded.bias, linear.bias)
    np.savez(path, weight=np.full((2, 3), 1 / 3), bias=np.zeros(2))
    with pytest.raises(ValueError, match="exactly"):
        load_torch_weights(linear, path)


def test_nothing_is_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "trace"), "w"))

    torch.save({"weight": Evil()}, tmp_path / "w.pt")
    np.savez(tmp_path / "w.npz", weight=np.array([Evil()], object))
    linear = eqx.nn.Linear(3, 2, key=jr.key(0))
    for name in ("w.pt", "w.npz"):
        with pytest.raises(Exception, match="[Ww]eights|pickle"):
            load_torch_weights(linear, tmp_path / name)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("batch", ("free", "one"))
def test_exported_programs_load_without_the_source(batch, tmp_path):
    x = torch.from_numpy(X)
    model = net().eval()
    shapes = ({0: torch.export.Dim("batch")},) if batch == "free" else None
    example = x if batch == "free" else x[:1]
    torch.export.save(
        torch.export.export(model, (example,), dynamic_shapes=shapes), tmp_path / "m.pt2"
    )
    imported = from_torch(tmp_path / "m.pt2", trusted=True)
    assert imported.report.outputs < 1e-5
    expected = model(x).detach()
    np.testing.assert_allclose(imported(X), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(imported(X[1]), expected[1], rtol=1e-5, atol=1e-6)


def test_import_does_not_need_torch():
    code = (
        "import sys; sys.modules['torch'] = None; import jaxinfo; from jaxinfo.network import"
        " from_torch\ntry: from_torch(1, 2)\nexcept ImportError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "jaxinfo[torch]" in done.stdout, done.stderr
    code = "import sys, jaxinfo; print(any(m.partition('.')[0] == 'torch' for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x, train: bool = True):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(4)(x))
        return linen.Dense(2)(linen.Dropout(0.5, deterministic=not train)(linen.tanh(x)))


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.fc1 = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.fc2 = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.fc2(self.drop(jnp.tanh(self.norm(self.fc1(x)))))


class Tied(nnx.Module):
    """An embedding that is also the output, a layer used twice, attention, a loop."""

    def __init__(self, rngs):
        self.embedding = nnx.Embed(5, 4, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs)
        self.rnn = nnx.RNN(nnx.GRUCell(4, 4, rngs=rngs))
        self.fc = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, ids, scale):
        x = self.embedding(ids)
        x = self.rnn(x + self.attention(x))
        return {"logits": self.embedding.attend(self.fc(jnp.tanh(self.fc(x)))), "x": x * scale}


FLAX_X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3)), jnp.float32)


def flax_model(kind):
    """The model as `from_flax` takes it, its example, and the options of its calls."""
    if kind == "linen":
        module = LinenNet()
        return (module, module.init(jr.key(0), FLAX_X, train=False)), FLAX_X, {"train": False}
    if kind == "nnx":
        return NNXNet(nnx.Rngs(0)), FLAX_X, {}
    return Tied(nnx.Rngs(0)), (jnp.asarray([[0, 3, 1], [2, 2, 4]]), jnp.ones((2, 1, 1))), {}


@pytest.mark.parametrize(
    ("kind", "layers"),
    (("linen", ("Dense_0", "Dense_1")), ("nnx", ("fc1", "fc2")), ("tied", None)),
)
def test_flax_models(kind, layers):
    model, example, options = flax_model(kind)
    imported = from_flax(model, example, **options)
    assert imported.report.outputs < 1e-5 and max(imported.report.gradients.values()) < 1e-5
    trained = {name for name, is_trained in trainable_by_name(imported).items() if is_trained}
    assert set(imported.report.gradients) == trained
    if layers is None:
        return
    if kind == "linen":
        module, variables = model
        expected = module.apply(variables, example, **options)
    else:
        model.eval()
        expected = model(example)
    np.testing.assert_allclose(imported(example), expected, rtol=1e-6)
    topology = topology_of(imported, jnp.zeros(3))
    assert topology.names == layers
    assert str(topology.nodes[layers[0]]["output"]["activation"]) == "tanh"
    gradient = eqx.filter_grad(lambda m: jnp.sum(m(example)))(imported)
    for leaf, is_trained in zip(
        jtu.tree_leaves(gradient), jtu.tree_leaves(imported.trainable), strict=True
    ):
        assert is_trained or not np.any(leaf)


def trainable_by_name(imported):
    leaves = jtu.tree_flatten_with_path(imported.trainable)[0]
    return {jtu.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def test_flax_layers_of_one_example():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.relu(linen.Conv(3, (2, 2))(x))
            x = linen.tanh(linen.ConvTranspose(2, (2, 2))(x)).reshape(*x.shape[:-3], -1)
            x = linen.sigmoid(linen.WeightNorm(linen.Dense(3))(x))
            return linen.SpectralNorm(linen.Dense(2))(x, update_stats=False)

    x = jr.normal(jr.key(0), (2, 3, 3, 1))
    imported = from_flax((Net(), Net().init(jr.key(1), x)), x, verify=False)
    topology = topology_of(imported, x[0])
    found = {
        name: (str(node["output"]["activation"]), node["output"]["shape"])
        for name, node in topology.nodes.items()
    }
    assert found == {
        "Conv_0": ("relu", (3, 3, 3)),
        "ConvTranspose_0": ("tanh", (3, 3, 2)),
        "Dense_0": ("sigmoid", (3,)),
        "Dense_1": ("None", (2,)),
    }
    np.testing.assert_allclose(
        topology.channel("Dense_1", "Conv_0", spatial="full")(x[0]), imported(x)[0], rtol=1e-5
    )


@pytest.mark.parametrize("kind", ("linen", "nnx"))
@pytest.mark.parametrize("what", ("outputs", "gradient"))
def test_a_wrong_flax_import_is_found_out(kind, what, monkeypatch):
    program = {"linen": _flax._Linen, "nnx": _flax._NNX}[kind]
    right = program.__call__

    def wrong(self, leaves, *args, **kwargs):
        y = right(self, leaves, *args, **kwargs)
        return y * 1.001 if what == "outputs" else jax.lax.stop_gradient(y)

    monkeypatch.setattr(program, "__call__", wrong)
    model, example, options = flax_model(kind)
    with pytest.raises(ImportMismatch, match=what):
        from_flax(model, example, **options)
    assert from_flax(model, example, verify=False, **options).report is None


def test_torch_weights_into_flax(tmp_path):
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "w.pt")
    mapping = {"kernel": ("weight", jnp.transpose)}
    nnx_layer = load_torch_weights(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), tmp_path / "w.pt", mapping)
    params = linen.Dense(4).init(jr.key(0), jnp.zeros(3))["params"]
    linen_layer = load_torch_weights(params, tmp_path / "w.pt", mapping)
    state = torch.load(tmp_path / "w.pt", weights_only=True)
    for kernel in (nnx_layer.kernel[...], linen_layer["kernel"]):
        assert np.array_equal(kernel, state["weight"].numpy().T)
