"""Batches that are divided among two devices, in a process that has two: the answers of one device."""

import subprocess
import sys

import pytest

pytest.importorskip("torch")

PROGRAM = """
import contextlib

import jax

jax.config.update("jax_num_cpu_devices", 2)

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import torch
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxinfo import activations, ei, info, maps, metrics, ops, patterns, surrogate, train
from jaxinfo.network import Channel, from_torch

x, y = jr.normal(jr.key(0), (2, 64, 6))
key = jr.key(1)


def slopes(f, *args):
    # The value, and the gradient of something of it.
    def scalar(*args):
        value = f(*args)
        return jnp.sum(jnp.sin(value)), value

    return eqx.filter_value_and_grad(scalar, has_aux=True)(*args)


def elementwise(x, y):
    of_rows = [activations.softmax, lambda x: activations.bkwta(x, 2), surrogate.Triangular()]
    of_rows += [lambda x: ops.normalize_matrix(x, 1.0), lambda x: ops.drop_out(key, x, 0.3)[0]]
    of_rows += [metrics.measure_gini_index, info.Binning(5, -2.0, 2.0).soft]
    of_two = [metrics.measure_Pearson_correlation, metrics.measure_linear_CKA, metrics.measure_MSE]
    return [slopes(f, x) for f in of_rows] + [slopes(lambda x: f(x, y), x) for f in of_two]


def counts(x, y):
    x, y = (info.Binning(4, -2.0, 2.0).index(z)[:, :3] for z in (x, y))
    pairs = info.PairHistogram.zeros(3, 3, 4, 4).update(x, y)
    agreement = metrics.measure_NMI(x[:, 0], y[:, 0], 4), metrics.measure_ARI(x[:, 0], y[:, 0], 4)
    joint = info.JointHistogram.of(x, y, 4, 4).estimate()
    return pairs, pairs.influence(x, y), joint, agreement


gates = jr.normal(key, (6, 9))[:, [0, 1, 0, 2, 3, 4, 5, 6, 7, 8]]
relus = eqx.nn.MLP(6, 2, 5, 1, key=key)


def of_gates(x, y):
    packed = patterns.activation_patterns(x, gates)
    distinct = patterns.unique_patterns(packed, size=10)
    network = patterns.network_patterns(relus, x)
    codes = patterns.PackedPatterns.pack(y > 0)
    distances = patterns.hamming_distances(codes, codes)
    return packed, packed.T, distinct, network, patterns.linear_regions(network), distances


def eager(x, y):
    gates_only = patterns.compute_activation_patterns(x, gates)
    on_a_part = patterns.compute_activation_patterns(x, gates, bias=True, active_proportion=0.3)
    fitted = patterns.fit_gated_relu(x, y[:, 0], gates, penalty=0.1, max_steps=20)
    return gates_only, on_a_part, fitted[0].weights


kinds = maps.ButterflyLinear, maps.OrthogonalLinear, maps.SymplecticLinear, maps.KroneckerLinear
layers = [kind(6, 6, key=key) for kind in kinds]
recurrent = maps.RNN(6, 6, 1, {"hidden_map": maps.OrthogonalLinear}, key=key)


def linear(x, y):
    # The divided axis leads, or stands in the middle, or is mapped over.
    steps = jnp.stack([x, y])
    each = [slopes(f, m, z) for m in layers for z in (x, steps) for f in [lambda m, z: m(z)]]
    each += [slopes(lambda m, x: jax.vmap(m)(x), m, x) for m in layers]
    return each, slopes(lambda r, z: r(z)[0], recurrent, steps)


def regularised(x, y):
    model = eqx.nn.MLP(6, 3, 3, 1, jnp.tanh, key=key)

    def loss(model, method):
        penalty = train.ei_penalty(
            model, jnp.zeros(6), layers=["layers.1"], method=method, weight=0.1, key=key,
            in_range=(-1, 1), in_bins=4, out_bins=4
        )
        return jnp.mean((jax.vmap(model)(x) - y[:, :3]) ** 2) + penalty

    return slopes(lambda model: loss(model, ei.Soft(100)), model)


def of_divided_weights(x, y):
    channel = Channel.from_weight(x[:2, :2], None, "tanh", in_range=(-1, 1))
    return ei.ei_parts(channel, None, method=ei.Exact(), in_bins=2, out_bins=2)


class Torch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.before = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 3), torch.nn.GroupNorm(2, 4))
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)
        self.names = torch.nn.Embedding(3, 4)

    def forward(self, x):
        names = self.names((x[:, :4] > 0).long())
        z = self.before(x[:, None]).transpose(1, 2) + names
        return self.attention(z, z, z)[0].flatten(1)


torch.manual_seed(0)
imported = from_torch(Torch().eval(), torch.zeros(2, 6), verify=False)


def of_torch(x, y):
    return slopes(lambda m: m(x), imported), slopes(lambda m: jax.vmap(m)(x), imported)


def like(mesh):
    # Divided along the first axis, on the devices of the mesh.
    return jax.device_put((x, y), NamedSharding(mesh, PartitionSpec("batch")))


def check(f, mesh, context):
    one, two = f(x, y), None
    with context:
        two = f(*like(mesh))
        for a, b in zip(*(jax.tree.leaves(eqx.filter(z, eqx.is_array)) for z in (one, two)), strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-5)


table = [eqx.filter_jit(f) for f in (
    elementwise, counts, of_gates, linear, regularised, of_divided_weights, of_torch
)] + [eager]
failed = []
kinds = [AxisType.Auto]
if hasattr(jax, "set_mesh") and hasattr(jax.sharding, "auto_axes"):
    kinds.append(AxisType.Explicit)
for kind in kinds:
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(kind,))
    explicit = kind is AxisType.Explicit
    for f in table:
        try:
            check(f, mesh, jax.set_mesh(mesh) if explicit else contextlib.nullcontext())
        except Exception as error:
            failed.append(f"{f.__name__} {kind}: {type(error).__name__} {error}"[:500])
    if explicit:  # and what has a row for each example stays divided
        with jax.set_mesh(mesh):
            given, _ = like(mesh)
            answers = [m(given) for m in layers] + [imported(given)]
        failed += [f"gathered: {jax.typeof(a)}" for a in answers if jax.typeof(a).sharding.spec[0] != "batch"]
print("\\n".join(failed) or "equal")
"""


def test_two_devices_answer_as_one():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == "equal\n", done.stdout + done.stderr
