"""Exact EI against known answers, an independent distribution function, sampling, and laws."""

import itertools
import math
import warnings

import equinox as eqx
import exact_oracle as oracle
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from conftest import load_golden
from models import golden_model

from jaxinfo import Channel
from jaxinfo.ei import (
    Exact,
    Sampling,
    ei_parts,
    ei_parts_matrix,
    eis_between_groups,
    measure,
    output_entropy,
    sensitivity,
    sensitivity_matrix,
    topology_of,
)
from jaxinfo.ei._intervention import Setting
from jaxinfo.ei._table import Column, noise_pairs, output_distribution, over_columns
from jaxinfo.info import Binning, PlugIn

CASES, DATA = load_golden("deep_ei")
SINGLE = """id1x1_wide.parts relu1x1_drop.parts sig2x2.parts id2x1_drop.parts sig5x5_b8x24.sens
sig20x10.parts allout2x1.parts dominant8x2.parts comp_linlin5-4-3.parts conv2-3_3x3_relu.parts
convavg2-1.sens""".split()
DOUBLE = """relu5x5.parts sat4x3_tanh.sens tiny4x2.parts""".split()


@pytest.fixture(autouse=True)
def outside_is_fine():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fell outside.*")
        yield


def golden_error(name):
    """The error per pair of the exact answer."""
    case = next(case for case in CASES if case["id"] == name)
    model, names = golden_model(case, DATA)
    architecture = case["architecture"]
    topology = topology_of(model, jnp.zeros(architecture["input_shape"]))
    measured = ei_parts_matrix if case["function"] == "ei_parts" else sensitivity_matrix
    found = measured(
        names[architecture["layer"]],
        topology,
        method=Exact(),
        in_layer=names[architecture["in_layer"]],
        in_range=tuple(case["in_range"]),
        in_bins=case["in_bins"],
        out_range=tuple(case["out_range"]),
        out_bins=case["out_bins"],
        activation=case["activation"],
    )
    expected = case["reference"]["exact"]["variants"]["clean"]["value"] or 0.0
    return abs(float(jnp.sum(found)) - expected) / found.size


def channel(key, n_in, n_out, activation="sigmoid", scale=1.0, **options):
    w, b = jr.split(key)
    weight = scale * jr.normal(w, (n_in, n_out))
    return Channel.from_weight(weight, jr.normal(b, (n_out,)) / 4, activation, **options)


@pytest.mark.parametrize("name", SINGLE)
def test_known_answers(name):
    assert golden_error(name) < 1e-5


@pytest.mark.parametrize("name", DOUBLE)
def test_known_answers_in_double_precision(name, x64):
    assert golden_error(name) < 1e-11


@pytest.mark.parametrize("name", ("id2x1.parts", "id2x1_drop.parts", "tiny4x2.parts"))
def test_clipping_puts_the_outside_in_the_edge_bins(name, x64):
    case = next(case for case in CASES if case["id"] == name)
    weight = jnp.asarray(DATA[case["params"]["0.weight"][4:]], float).T
    bias = jnp.asarray(DATA[case["params"]["0.bias"][4:]], float)
    setting = Setting(
        Channel.from_weight(weight, bias),
        Binning(case["in_bins"], *case["in_range"]),
        Binning(case["out_bins"], *case["out_range"], out_of_range="clip"),
    )
    result = Exact().parts(setting, None, None)
    expected = case["reference"]["exact"]["variants"]["clip"]["value"]
    np.testing.assert_allclose(jnp.sum(result.matrix), expected, atol=1e-9)
    assert result.outside < 1e-12


def corner_distribution(half, y):
    """The distribution function of a sum of uniforms, by its corners: few terms, float64."""
    n, total = len(half), 0.0
    for corner in itertools.product((-1, 1), repeat=n):
        reach = max(y + np.dot(corner, half), 0.0)
        total += np.prod(corner) * reach**n
    return total / (math.factorial(n) * np.prod(2 * np.asarray(half)))


@pytest.mark.parametrize(
    "half",
    (
        (1.0,),
        (1.0, 1.0, 0.02),
        (0.7, 0.7, 0.7, 0.7, 0.7, 0.7),
        (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.02),
    ),
)
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_distribution_of_a_sum(half, dtype, x64):
    weight = jnp.asarray(half, dtype)[:, None]
    inputs = Binning(8, -1.0, 1.0)
    outputs = Binning(40, -sum(half), sum(half))
    setting = Setting(Channel.from_weight(weight), inputs, outputs)
    if dtype == "float32":
        setting = jax.tree.map(lambda x: jnp.asarray(x, dtype), setting)
    found = over_columns(setting, output_distribution)[0]
    edges = np.linspace(-sum(half), sum(half), 41)
    expected = np.diff([corner_distribution(half, y) for y in edges])
    np.testing.assert_allclose(found, expected, atol=4e-6 if dtype == "float32" else 1e-10)


@pytest.mark.parametrize("activation", ("gelu", "hard_tanh"))
def test_agrees_with_sampling(activation, getkey):
    options = {"in_bins": 4, "out_bins": 6, "in_range": (-1.5, 2.0), "out_range": (-0.5, 6.5)}
    layer = channel(getkey(), 3, 2, activation, scale=1.5)
    exact = ei_parts_matrix(layer, None, method=Exact(), **options)
    noise = Sampling(samples=160_000, extrapolate=True)
    sampled = ei_parts_matrix(layer, None, key=getkey(), method=noise, **options)
    np.testing.assert_allclose(exact, sampled, atol=6e-3)


def test_weights_of_every_size():
    scale = 10.0 ** jnp.array([3, 2, 1, 0, -1, -2, -4, -6])[:, None]
    weight = scale * jnp.array([[1.0, -0.7, 1.3]])
    layer = Channel.from_weight(weight, in_range=(-1.0, 1.0))
    found = ei_parts_matrix(layer, None, method=Exact(), in_bins=16, out_range=(-3000.0, 3000.0))
    assert jnp.all(jnp.isfinite(found)) and jnp.all(found >= 0)
    assert jnp.all(found[0] > 1) and jnp.all(found[5:] < 1e-4)


def test_inputs_tell_at_most_the_entropy_of_the_output(getkey):
    layer = channel(getkey(), 12, 3)
    matrix = ei_parts_matrix(layer, None, method=Exact(), in_bins=8, out_bins=8)
    whole = output_entropy(layer, None, out_bins=8)
    assert jnp.all(jnp.sum(matrix, axis=0) <= whole + 1e-5)
    assert jnp.all(whole <= 3)


def test_sensitivity_is_parts_of_a_lone_input(getkey):
    layer = channel(getkey(), 1, 3, "tanh", in_range=(-2.0, 1.0))
    options = {"method": Exact(), "in_bins": 8, "out_bins": 12}
    parts = ei_parts_matrix(layer, None, **options)
    np.testing.assert_allclose(sensitivity_matrix(layer, None, **options), parts, atol=1e-6)


def test_groups_of_one_and_measure(getkey):
    model = eqx.nn.MLP(3, 2, 4, 1, jax.nn.sigmoid, key=getkey())
    topology = topology_of(model, jnp.zeros(3))
    options = {"method": Exact(), "in_bins": 4, "out_bins": 4}
    matrix = ei_parts_matrix("layers.0", topology, **options)
    groups = eis_between_groups("layers.0", topology, [((2,), (1,)), ((0,), (3,))], **options)
    np.testing.assert_allclose(groups, [matrix[2, 1], matrix[0, 3]])
    found = measure(
        topology,
        layers=["layers.0"],
        quantities=("ei_parts", "sensitivity"),
        method=Exact(),
        in_bins=4,
        out_bins=4,
    )["layers.0"]
    np.testing.assert_allclose(found["ei_parts"].value, jnp.sum(matrix), rtol=1e-6)
    assert found["ei_parts"].samples == 0 and 0 < found["ei_parts"].standard_error < 1e-2


def test_dynamic_range_is_what_can_be_reached():
    layer = Channel.from_weight(jnp.array([[1.0], [-2.0]]), jnp.array([0.5]), "gelu")
    setting = Setting(layer, Binning(4, -1.0, 1.0), Binning(4, 0.0, 1.0))
    lower, upper = Exact().noise_range(setting, None)
    np.testing.assert_allclose(lower, [-0.16997], atol=1e-5)
    np.testing.assert_allclose(upper, jax.nn.gelu(jnp.array([3.5]), approximate=False), atol=1e-6)


def test_says_what_it_cannot_do():
    bent = Channel(lambda x: x**2, 2)
    with pytest.raises(ValueError, match="not known to be affine"):
        ei_parts(bent, None, method=Exact())
    wire = Channel.from_weight(jnp.eye(2), in_range=(0, 1), out_range=(0, 1))
    with pytest.raises(ValueError, match="PlugIn"):
        ei_parts(wire, None, method=Exact(), estimator=PlugIn())
    assert sensitivity(wire, None, method=Exact(), in_bins=4, out_bins=4) == 4


def random_columns(rng, n, dtype):
    """Weights of the same size, of every size, some zero, some equal, falling by a factor."""
    signs = rng.choice([-1.0, 1.0], n)
    kinds = [
        rng.normal(size=n),
        signs * 10 ** rng.uniform(-6, 3, n),
        signs * 10 ** rng.uniform(-6, 3, n),
        signs * 3.7,
        np.where(rng.random(n) < 0.5, 0, rng.normal(size=n)),
        0.3 ** np.arange(n) * 50,
        np.concatenate([[400.0, -400.0], 1e-4 * rng.normal(size=n - 2)]),
    ]
    return np.stack(kinds).astype(dtype)


@pytest.mark.parametrize("n", (2, 7))
@pytest.mark.parametrize("dtype, tolerance", (("float32", 1e-4), ("float64", 1e-9)))
def test_agrees_with_an_independent_route_and_bounds_its_error(n, dtype, tolerance, request):
    if dtype == "float64":
        request.getfixturevalue("x64")
    rng = np.random.default_rng(n)
    weights = random_columns(rng, n, dtype)
    bias = rng.normal(size=len(weights)).astype(dtype)
    edges = np.linspace(-3, 4, 10).astype(dtype)
    inputs = jax.tree.map(lambda x: x.astype(dtype), Binning(6, -1.0, 0.5))

    @jax.jit
    def measured(weights, bias):
        rising = jnp.ones(1, dtype)
        return jax.lax.map(
            lambda row: noise_pairs(Column(*row, jnp.asarray(edges)[None], rising, inputs)),
            (weights, bias),
        )

    found = measured(jnp.asarray(weights), jnp.asarray(bias))
    for i, row in enumerate(weights):
        for a, table in enumerate(
            oracle.column_tables(row, float(bias[i]), [edges.astype(float)], [1], (-1.0, 0.5), 6)
        ):
            bits, mass = oracle.information(table)
            if mass > 1e-3:  # of less than that, single precision knows too little
                error = abs(float(found.bits[i, a]) - bits)
                assert error < tolerance, (row, a)
                assert error <= float(found.error[i, a]) + 1e-13, (row, a)  # rounding of the oracle
