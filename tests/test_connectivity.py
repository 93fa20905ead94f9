"""The weight graph against the golden answers, and against the layers themselves."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from conftest import load_golden
from jax.test_util import check_grads
from models import Twice, blank, convolutional

import jaxinfo.connectivity as graph

CASES, DATA = load_golden("foresight")
NORMS = {"lin": graph.lin_norm, "soft": graph.soft_norm, "sig": graph.sig_norm}


def cases(*functions):
    return [
        pytest.param(c, id=c["id"])
        for c in CASES
        if c["function"].removeprefix("foresight.ei.") in functions
        and c["status"] in ("agree", "doc_vs_code", "peer_crash")
    ]


@pytest.mark.parametrize("case", cases("H", "lin_norm", "soft_norm", "sig_norm"))
def test_functions_of_a_matrix(case, x64):
    name = case["function"].removeprefix("foresight.ei.")
    (array,) = (jnp.asarray(DATA[key]) for key in case["inputs"].values())
    found = getattr(graph, name)(array, **case["params"])
    assert np.allclose(found, DATA[case["outputs"]["out"]], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "case", cases("linear_create_matrix", "conv2d_create_matrix", "avgpool2d_create_matrix")
)
def test_matrices(case, x64):
    params = case["params"]
    if case["function"].endswith("avgpool2d_create_matrix"):
        layer = eqx.nn.AvgPool2d(
            params["kernel_size"],
            params["stride"],
            params.get("padding", 0),
            use_ceil=params.get("ceil_mode", False),
        )
    elif "weight" in case["inputs"] and DATA[case["inputs"]["weight"]].ndim == 2:
        weight = jnp.asarray(DATA[case["inputs"]["weight"]])
        layer = blank(eqx.nn.Linear, weight.shape[1], weight.shape[0])
        layer = eqx.tree_at(lambda m: m.weight, layer, weight)
    else:
        weight = jnp.asarray(DATA[case["inputs"]["weight"]])
        layer = blank(
            eqx.nn.Conv2d,
            weight.shape[1] * params["groups"],
            weight.shape[0],
            weight.shape[2:],
            stride=params["stride"],
            padding=params["padding"],
            dilation=params["dilation"],
            groups=params["groups"],
        )
        layer = eqx.tree_at(lambda m: m.weight, layer, weight)
    if params.get("ceil_mode"):
        inner = layer  # which divides by the whole window, also where it is cut off
        layer = eqx.nn.Lambda(lambda x: inner(x) / inner(jnp.ones_like(x)))
    shape = tuple(params["in_shape"][1:])
    found = graph.connectivity_matrix(layer, shape, tuple(params["out_shape"][1:]))
    assert np.allclose(found, DATA[case["outputs"]["out"]], rtol=1e-12, atol=1e-14)


def network(case):
    layers = []
    for index, spec in enumerate(case["params"]["arch"]):
        weight = case["inputs"].get(f"{index}.weight")
        weight = None if weight is None else jnp.asarray(DATA[weight])
        match spec["type"]:
            case "Linear":
                shape = spec["in_features"], spec["out_features"]
                layer = blank(eqx.nn.Linear, *shape, use_bias=spec["bias"])
            case "Conv2d":
                layer = blank(
                    eqx.nn.Conv2d,
                    spec["in_channels"],
                    spec["out_channels"],
                    spec["kernel_size"],
                    stride=spec["stride"],
                    padding=spec["padding"],
                )
            case "AvgPool2d":
                layer = eqx.nn.AvgPool2d(spec["kernel_size"], spec["kernel_size"])
            case "Flatten":
                layer = eqx.nn.Lambda(jnp.ravel)
            case "same_as":
                layer = layers[spec["layer"]]
            case "Dropout":
                layer = eqx.nn.Dropout(spec["p"])
            case "BatchNorm1d":
                layer = eqx.nn.Lambda(lambda x: 3 * x + jnp.arange(x.size))
            case name:
                activation = {"ReLU": jax.nn.relu, "Tanh": jnp.tanh, "Sigmoid": jax.nn.sigmoid}
                layer = eqx.nn.Lambda(activation[name])
        if weight is not None and spec["type"] in ("Linear", "Conv2d"):
            layer = eqx.tree_at(lambda m: m.weight, layer, weight)
        layers.append(layer)
    return eqx.nn.Sequential(layers), tuple(case["params"]["input_shape"][1:])


@pytest.mark.parametrize("case", cases("ei"))
def test_networks(case, x64):
    model, shape = network(case)

    @eqx.filter_jit
    def everything(model):
        quantities = graph.determinism, graph.degeneracy, graph.ei
        return {
            (quantity.__name__, name): quantity(model, shape, norm)
            for quantity in quantities
            for name, norm in NORMS.items()
        }

    for (quantity, name), found in everything(model).items():
        # Where the source joined all channels of a pooling, the true map's value is stored too.
        key = case["outputs"].get(f"true_{quantity}_{name}", case["outputs"][f"{quantity}_{name}"])
        assert np.allclose(found, DATA[key], rtol=1e-10, atol=1e-12), (quantity, name)


@pytest.mark.parametrize("case", cases("get_shapes"))
def test_shapes(case):
    model, shape = network(case)
    found = list(graph.get_shapes(model, shape).values())
    for side, key in enumerate(("in_shapes", "out_shapes")):
        expected = [tuple(int(v) for v in row[1:] if v >= 0) for row in DATA[case["outputs"][key]]]
        assert [shapes[side] for shapes in found][: len(expected)] == expected


def test_a_module_used_twice_counts_twice():
    model = Twice(eqx.nn.Linear(3, 3, key=jr.key(0)))
    matrix = model.fc.weight.T
    rows = graph.lin_norm(matrix)
    assert np.isclose(graph.determinism(model, (3,)), np.mean(graph.H(rows, dim=1)), atol=1e-6)
    arriving = np.tile(np.sum(rows, axis=0), 2)
    assert np.isclose(graph.degeneracy(model, (3,)), graph.H(arriving / arriving.sum()), atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        eqx.nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2, key=jr.key(0)),
        eqx.nn.Conv2d(2, 3, 3, padding="SAME", key=jr.key(1)),
        eqx.nn.Conv3d(1, 2, 2, key=jr.key(2)),
        eqx.nn.ConvTranspose2d(2, 3, 2, stride=2, key=jr.key(3)),
        eqx.nn.AvgPool1d(3, 2, 1),
        eqx.nn.AvgPool2d(2, 1),
        eqx.nn.Linear(9, 4, key=jr.key(4)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_the_matrix_is_the_layer_without_its_bias(layer, getkey):
    shapes = {1: (2, 9), 2: (2, 5, 5), 3: (1, 3, 4, 3)}
    shape = shapes.get(getattr(layer, "num_spatial_dims", None), (9,))
    x = jr.normal(getkey(), shape)
    bias = layer(jnp.zeros(shape))
    matrix = graph.connectivity_matrix(layer, x)
    assert np.allclose(x.ravel() @ matrix, (layer(x) - bias).ravel(), atol=1e-5)


@pytest.mark.parametrize("mode", ("ZEROS", "CIRCULAR", "REFLECT", "REPLICATE"))
def test_padding_has_no_pixels_of_its_own(mode, getkey):
    shape = (1, 4, 3)
    layer = eqx.nn.Conv2d(1, 2, 3, 1, 1, padding_mode=mode, key=getkey())
    units = jnp.eye(12).reshape(12, *shape)
    rows = (jax.vmap(layer)(units) - layer(jnp.zeros(shape))).reshape(12, -1)
    matrix = graph.connectivity_matrix(layer, shape)
    assert matrix.shape == (12, 24) and np.allclose(matrix, rows, atol=1e-6)
    strengths = np.maximum(rows, 0).astype(float)
    p = strengths / np.where(strengths.sum(1) > 0, strengths.sum(1), 1)[:, None]
    arriving = p.sum(0) / p.sum()
    logs = [np.log2(q, where=q > 0, out=np.zeros_like(q)) for q in (arriving, p)]
    expected = (p * logs[1]).sum() / 12 - (arriving * logs[0]).sum()
    assert np.isclose(graph.ei(layer, jnp.zeros(shape)), expected, atol=1e-5)


def test_no_row_of_sigmoids_underflows():
    assert jnp.allclose(
        graph.sig_norm(jnp.array([[-1e4, -1e4, -1e30]])), jnp.array([[0.5, 0.5, 0]])
    )


def test_entropy_does_not_hide_what_is_no_distribution():
    assert jnp.isnan(graph.H(jnp.array([0.5, -0.5])))
    assert jnp.isnan(graph.H(jnp.array([0.5, jnp.nan])))


def test_ei_is_the_mean_divergence_from_the_mean(getkey):
    weight = jr.uniform(getkey(), (6, 4)) + 0.1
    model = eqx.tree_at(lambda m: m.weight, eqx.nn.Linear(6, 4, key=getkey()), weight.T)
    rows = graph.lin_norm(weight)
    mean = jnp.mean(rows, axis=0)
    assert jnp.isclose(
        graph.ei(model, (6,)), jnp.mean(jnp.sum(rows * jnp.log2(rows / mean), axis=1)), atol=1e-6
    )


@pytest.mark.parametrize("quantity", [graph.determinism, graph.degeneracy, graph.ei])
@pytest.mark.parametrize("norm", [graph.soft_norm, graph.sig_norm])
def test_gradients(quantity, norm, x64, getkey):
    model = eqx.nn.Linear(3, 2, key=getkey())

    def of_weight(weight):
        return quantity(eqx.tree_at(lambda m: m.weight, model, jnp.asarray(weight)), (3,), norm)

    check_grads(of_weight, (jr.normal(getkey(), (2, 3)),), order=1, rtol=1e-5)


def test_gradient_where_no_weight_is_positive():
    model = eqx.nn.Linear(2, 2, key=jr.key(0))
    grads = jax.grad(lambda w: graph.ei(eqx.tree_at(lambda m: m.weight, model, w), (2,)))(
        -jnp.eye(2)
    )
    assert jnp.isfinite(grads).all()


def test_bad_input():
    with pytest.raises(ValueError, match="takes one affine layer; got a module with the layers"):
        graph.connectivity_matrix(convolutional(jr.key(0)), (1, 6, 6))
    with pytest.raises(ValueError, match="max_pool, which no matrix describes"):
        graph.connectivity_matrix(eqx.nn.MaxPool2d(2), (1, 4, 4))
    with pytest.raises(ValueError, match=r"`out_shape` is \(5,\)"):
        graph.connectivity_matrix(eqx.nn.Linear(3, 2, key=jr.key(0)), (3,), (5,))
    with pytest.raises(ValueError, match="does not accept"):
        graph.ei(eqx.nn.Linear(3, 2, key=jr.key(0)), (4,))
