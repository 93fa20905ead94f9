"""Exact EI of vectors: known answers, sampling, structure, and what it refuses."""

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
    _exact_vector,
    ei,
    eis_between_groups,
    output_entropy,
    topology_of,
)
from jaxinfo.ei._intervention import Setting
from jaxinfo.ei._vector import whole
from jaxinfo.info import Binning

CASES, DATA = load_golden("deep_ei")
pytestmark = pytest.mark.filterwarnings("ignore:.*fell outside.*")


@pytest.mark.parametrize(
    "name",
    (
        "id1x1_b8.ei",
        "id2x1_drop.ei",
        "sig2x2.groups",
        "id2x2_wide.ei",
        "eye3x3_b32.ei",
        "dense3x1_vec.groups",
    ),  # fmt: skip
)
def test_known_answers(name, x64):
    case = next(case for case in CASES if case["id"] == name)
    model, names = golden_model(case, DATA)
    model = jax.tree.map(lambda x: x.astype(float) if hasattr(x, "dtype") else x, model)
    architecture = case["architecture"]
    topology = topology_of(model, jnp.zeros(architecture["input_shape"]))
    channel = topology.channel(names[architecture["layer"]], activation=case["activation"])
    groups = tuple((tuple(a), tuple(b)) for a, b in case.get("groups", [whole(channel)]))
    for variant, rule in (("clean", "drop"), ("clip", "clip")):
        outputs = Binning(case["out_bins"], *case["out_range"], out_of_range=rule)
        setting = Setting(channel, Binning(case["in_bins"], *case["in_range"]), outputs)
        expected = case["reference"]["exact"]["variants"][variant]
        expected = expected["values"] if "values" in expected else [expected["value"]]
        found = Exact().vector(setting, None, groups)
        np.testing.assert_allclose(found.values, expected, atol=1e-9)


def test_agrees_with_sampling_on_branches_and_outside(getkey):
    weight = jnp.array([[1.5, -0.7], [0.4, 1.1]])
    layer = Channel.from_weight(weight, jnp.array([0.2, -0.1]), "gelu", in_range=(-1.5, 2.0))
    groups = [((0, 1), (0, 1)), ((1,), (0, 1)), ((0, 1), (1,))]
    options = {"in_bins": 3, "out_bins": 4, "out_range": (-0.15, 2.5)}
    exact = eis_between_groups(layer, None, groups, method=Exact(), **options)
    noise = Sampling(samples=200_000)
    sampled = eis_between_groups(layer, None, groups, key=getkey(), method=noise, **options)
    np.testing.assert_allclose(exact, sampled, atol=6e-3)


def test_what_shares_no_input_adds_up_and_noise_is_no_input():
    weight = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.4, 0.0]])
    layer = Channel.from_weight(weight, in_range=(0, 1), out_range=(0, 1))
    options = {"method": Exact(), "in_bins": 4, "out_bins": 4}
    alone = eis_between_groups(layer, None, [((0,), (0,)), ((1, 2), (1,))], **options)
    np.testing.assert_allclose(ei(layer, None, **options), jnp.sum(alone), rtol=1e-6)
    assert alone[0] == 2
    (nothing,) = eis_between_groups(layer, None, [((0, 1), (2,))], **options)
    assert nothing == 0


def test_finer_input_bins_tell_more_up_to_the_entropy(getkey):
    layer = Channel.from_weight(jr.normal(getkey(), (2, 1)), activation="tanh", in_range=(-1, 1))
    (most,) = output_entropy(layer, None, out_bins=5)
    found = [float(ei(layer, None, method=Exact(), in_bins=n, out_bins=5)) for n in (2, 8, 32)]
    assert found == sorted(found) and found[-1] <= most
    assert most - found[-1] < 0.2


def test_gradient_is_that_of_differences(x64):
    weight = jnp.array([[1.1, -0.6], [0.5, 0.9]])

    @jax.jit
    def bits(weight):
        layer = Channel.from_weight(weight, None, "tanh", in_range=(-1.0, 1.0))
        return ei(layer, None, method=Exact(), in_bins=2, out_bins=3)

    direction = jnp.array([[0.3, 1.0], [-0.7, 0.2]])
    h = 1e-5
    expected = (bits(weight + h * direction) - bits(weight - h * direction)) / (2 * h)
    found = jnp.sum(jax.jit(jax.grad(bits))(weight) * direction)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_groups_of_one_size_share_a_compilation(monkeypatch):
    traced, table = [], _exact_vector._table

    def counted(columns, part):
        traced.append(part)
        return table(columns, part)

    monkeypatch.setattr(_exact_vector, "_table", counted)
    weight = jnp.array([[1.0, -0.5], [0.7, 0.2], [0.3, 0.9]])
    layer = Channel.from_weight(weight, None, "tanh")
    groups = [((0, 1), (0,)), ((1, 2), (1,)), ((2, 0), (1,))]
    # Bins that no other test has, so that nothing is compiled yet.
    found = eis_between_groups(layer, None, groups, method=Exact(), in_bins=2, out_bins=9)
    assert len(traced) == 1 and len(set(found.tolist())) == 3


def test_refuses_with_numbers():
    wide = Channel.from_weight(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match="outputs .0, 1. share 3 inputs"):
        ei(wide, None, method=Exact(), in_bins=2, out_bins=2)
    many = Channel.from_weight(jnp.ones((8, 1)))
    with pytest.raises(ValueError, match="has 18014398509481984 cells"):
        ei(many, None, method=Exact())
