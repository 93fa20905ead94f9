"""Batches that are divided among two devices, in a process that has two: the answers of one device."""

import subprocess
import sys

import pytest

BEGIN = """
import contextlib

import jax

jax.config.update("jax_num_cpu_devices", 2)

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxinfo import ei, info, maps, metrics, patterns, surrogate
from jaxinfo.network import Channel

x, y = jr.normal(jr.key(0), (2, 64, 6))
key = jr.key(1)


def slopes(f, *args):
    # The values, and the gradient of something of them.
    def scalar(*args):
        values = f(*args)
        return sum(jnp.sum(jnp.sin(value)) for value in values), values

    return eqx.filter_value_and_grad(scalar, has_aux=True)(*args)
"""

OURS = """
def elementwise(x, y):
    of_rows = [surrogate.Triangular(), metrics.measure_gini_index, info.Binning(5, -2.0, 2.0).soft]
    of_two = [metrics.measure_Pearson_correlation, metrics.measure_linear_CKA]
    return slopes(lambda x: [f(x) for f in of_rows] + [f(x, y) for f in of_two], x)


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
    shifted = jnp.pad(gates, ((0, 1), (0, 0)))
    on_a_part = patterns.compute_activation_patterns(x, shifted, False, False, True, 0.3)
    return packed, on_a_part, packed.T, distinct, network, codes


kinds = maps.ButterflyLinear, maps.OrthogonalLinear, maps.SymplecticLinear
layers = [kind(6, 6, key=key) for kind in kinds]
recurrent = maps.RNN(6, 6, key=key)


def linear(x, y):
    # The divided axis leads, or stands in the middle, or is mapped over.
    def of_all(layers, recurrent, x):
        steps = jnp.stack([x, y])
        return [m(z) for m in layers for z in (x, steps)] + [jax.vmap(layers[1])(x), recurrent(steps)[0]]

    return slopes(of_all, layers, recurrent, x)


def regularised(x, y):
    # Of weights that are divided, too.
    def loss(weight, x):
        channel = Channel.from_weight(weight, None, "tanh", in_range=(-1, 1))
        options = {"method": ei.Soft(100), "in_bins": 2, "out_bins": 2, "key": key}
        return [jnp.tanh(y[:, :2] @ weight), ei.ei_parts(channel, None, **options)]

    return slopes(loss, x[:2, :2], x)


functions, models = [elementwise, counts, of_gates, linear, regularised], layers
"""

IMPORTED = """
import torch

from jaxinfo.network import from_torch


class Torch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.names = torch.nn.Conv1d(1, 4, 3), torch.nn.Embedding(3, 4)

    def forward(self, x):
        # As in attention, rows and channels become one axis that the rows do not lead.
        z = self.conv(x[:, None]).permute(2, 0, 1)
        names = self.names((x[:, :4] > 0).long()).transpose(0, 1)
        return torch.tanh((z + names).reshape(4, -1)).reshape(4, len(x), 4).transpose(0, 1)


torch.manual_seed(0)
imported = from_torch(Torch().eval(), torch.zeros(2, 6), verify=False)


def of_torch(x, y):
    return slopes(lambda m: [m(x)], imported)


functions, models = [of_torch], [imported]
"""

COMPARE = """
def like(mesh):
    # Divided along the first axis, on the devices of the mesh.
    return jax.device_put((x, y), NamedSharding(mesh, PartitionSpec("batch")))


def numbers(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


table = {f: numbers(f(x, y)) for f in map(eqx.filter_jit, functions)}
failed = []
kinds = [AxisType.Auto]
if hasattr(jax, "set_mesh") and hasattr(jax.sharding, "auto_axes"):
    kinds.append(AxisType.Explicit)
for kind in kinds:
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(kind,))
    explicit = kind is AxisType.Explicit
    for f, alone in table.items():
        if not explicit and f.__name__ != "linear":
            continue  # the program of one device, which XLA divides
        try:
            with jax.set_mesh(mesh) if explicit else contextlib.nullcontext():
                for a, b in zip(alone, numbers(f(*like(mesh))), strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        except Exception as error:
            failed.append(f"{f.__name__} {kind}: {type(error).__name__} {error}"[:500])
    if explicit:  # and what has a row for each example stays divided
        with jax.set_mesh(mesh):
            given, _ = like(mesh)
            answers = [m(given) for m in models]
        failed += [f"gathered: {jax.typeof(a)}" for a in answers if jax.typeof(a).sharding.spec[0] != "batch"]
print("\\n".join(failed) or "equal")
"""


def check(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "equal\n", done.stdout + done.stderr


def test_two_devices_answer_as_one():
    check(BEGIN + OURS + COMPARE)


def test_two_devices_answer_as_one_for_an_import():
    pytest.importorskip("torch", reason="imports a model of torch")
    check(BEGIN + IMPORTED + COMPARE)
