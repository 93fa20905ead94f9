"""Sampled EI against known answers: the exact expectation of the plug-in, or the exact value.

The golden cases hold the scatter of a plug-in estimate at 10 000 samples, so an answer must lie
within five of its standard deviations of what it must scatter around. One layer of each kind; the
other cases are those of the exact route.
"""

import warnings

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from conftest import load_golden
from models import golden_model

from jaxinfo.ei import ei, ei_parts, eis_between_groups, sensitivity, topology_of
from jaxinfo.info import PlugIn

CASES, DATA = load_golden("deep_ei")
KEPT = """relu1x1_drop sig2x2 relu2x2 id2x2_wide eye3x3_b8 dense3x1_vec sig5x5_b8x24
relu5x5 sig20x10 zero4x3_sig allout2x1 sat4x3_tanh dominant8x2 dyn_rng3x2
dyn_both3x2 dyn_bins3x2 comp_linlin5-4-3 comp4-6-5-2 conv2-3_3x3_relu convavg2-1 convmax1-2""".split()
FUNCTIONS = {
    "ei": ei,
    "ei_parts": ei_parts,
    "sensitivity": sensitivity,
    "eis_between_groups": eis_between_groups,
}


def expectation(case):
    """What a plug-in estimate scatters around, and by how much; `None` where nothing is known."""
    reference = case["reference"]
    exact, peer = reference.get("exact", {}), reference.get("peer", {}).get("10000", {})
    clean = exact.get("variants", {}).get("clean", {})
    scatter = np.asarray(peer.get("stds", peer.get("std")), float)
    value = clean.get("values", clean.get("value"))
    if value is None:
        value = reference.get("monte_carlo", {}).get("value")
    if value is None:
        return None, scatter
    # The exact value, and the bias of a plug-in with as many samples over equal bins.
    if "expected_plugin" in exact and case["function"] != "ei":
        bias = exact["expected_plugin"]["10000"] - exact["value"]
    else:
        bias = peer.get("bias_vs_exact", 0.0)
    # Where no scatter was recorded: that of the other convolutions, a hundredth of a bit a pair.
    return np.asarray(value) + np.asarray(bias), np.where(np.isnan(scatter), 0.01, scatter)


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c["id"]) for c in CASES if c["id"].rpartition(".")[0] in KEPT],
)
def test_scatters_around_the_known_answer(case):
    model, names = golden_model(case, DATA)
    architecture = case["architecture"]
    topology = topology_of(model, jnp.zeros(architecture["input_shape"]))
    dynamic = case["out_range"] == "dynamic"
    options = {
        "key": jr.key(5),
        "samples": 10_000,
        "in_layer": names[architecture["in_layer"]],
        "in_range": tuple(case["in_range"]),
        "in_bins": case["in_bins"],
        "out_range": "dynamic" if dynamic else tuple(case["out_range"]),
        "out_bins": case["out_bins"],
        "activation": case["activation"],
    }
    arguments = [names[architecture["layer"]], topology]
    if case["function"] == "eis_between_groups":
        arguments.append(case["groups"])
    if case["function"] in ("ei_parts", "sensitivity"):
        options["estimator"] = PlugIn()  # whose expectation is known
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what falls outside: some cases are about that
        found = np.asarray(FUNCTIONS[case["function"]](*arguments, **options))
    expected, scatter = expectation(case)
    if expected is None:
        assert np.all(found >= 0)
    else:
        assert np.all(np.abs(found - expected) <= 5 * scatter + 1e-4)
