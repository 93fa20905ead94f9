"""Every jitted entry point lowers for CPU, GPU and TPU; none is needed."""

import jax
import jax.export
import jax.numpy as jnp
import jax.random as jr
import pytest

import jaxinfo.connectivity as graph
from jaxinfo.ei import ei, ei_parts, ei_parts_matrix, eis_between_groups, sensitivity
from jaxinfo.info import Binning, JointHistogram, PairHistogram, mutual_information
from jaxinfo.network import Channel

OPTIONS = {"samples": 2000, "in_bins": 3, "out_bins": 4}


def of_channel(function, **options):
    def entry(weight, key_data):
        channel = Channel.from_weight(weight, None, "sigmoid")
        return function(channel, None, key=jr.wrap_key_data(key_data), **OPTIONS, **options)

    return entry, jnp.ones((3, 2)), jr.key_data(jr.key(0))


def groups(channel, topology, **options):
    return eis_between_groups(channel, topology, [((0, 1), (0,))], **options)


ENTRIES = {
    "ei": of_channel(ei),
    "ei_parts": of_channel(ei_parts),
    "ei_parts of unknown size": of_channel(
        lambda channel, topology, samples, **options: ei_parts(channel, topology, **options)
    ),
    "ei_parts_matrix dynamic": of_channel(ei_parts_matrix, out_range="dynamic"),
    "eis_between_groups": of_channel(groups),
    "sensitivity": of_channel(sensitivity),
    "mutual_information": (mutual_information, jnp.ones((3, 4))),
    "binning": (lambda x: Binning(4, 0.0, 1.0).index(x), jnp.ones(5)),
    "pair histogram": (
        lambda x, y: PairHistogram.zeros(2, 3, 4, 4).update(x, y).counts,
        jnp.zeros((9, 2), jnp.int32),
        jnp.zeros((9, 3), jnp.int32),
    ),
    "joint histogram": (
        lambda x, y: JointHistogram.of(x, y, 4, 4).mutual_information(),
        jnp.zeros((9, 2), jnp.int32),
        jnp.zeros((9, 3), jnp.int32),
    ),
    "weight graph": (
        lambda w: graph.H(graph.lin_norm(w), dim=1),
        jnp.ones((3, 2)),
    ),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_exports_for_all_platforms(name):
    entry, *arguments = ENTRIES[name]
    exported = jax.export.export(jax.jit(entry), platforms=("cpu", "cuda", "tpu"))(*arguments)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert len(exported.mlir_module_serialized) > 0
