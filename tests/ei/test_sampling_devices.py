"""Samples dealt to several devices, in a process that has eight; and news of how far it is."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

from jaxinfo.ei import Sampling, ei, ei_parts, sensitivity
from jaxinfo.network import Channel

PROGRAM = """
import functools
import jax, jax.numpy as jnp, jax.random as jr
from jaxinfo.ei import Sampling, ei, ei_parts, ei_parts_matrix, sensitivity_matrix
from jaxinfo.info import PlugIn
from jaxinfo.network import Channel

assert len(jax.devices()) == 8
channel = Channel.from_weight(jr.normal(jr.key(0), (3, 2)), None, "sigmoid", in_range=(-1, 1))
bins = {"key": jr.key(1), "in_bins": 4, "out_bins": 5}
devices = jax.devices()


def same(function, samples, devices, **options):
    # What one device gives, and several.
    return (
        function(channel, None, method=Sampling(samples, batch_size=1000, devices=d, **options), **bins)
        for d in ((), devices)
    )


matrix = functools.partial(ei_parts_matrix, estimator=PlugIn(), out_range="dynamic")
alone = functools.partial(sensitivity_matrix, estimator=PlugIn())
for function, samples, devices in (
    (matrix, 9_500, jax.devices()),  # not a whole number of batches
    (matrix, 700, jax.devices()[:3]),  # less than a block
    (alone, 9_500, jax.devices()),
):
    a, b = same(function, samples, devices)
    assert jnp.array_equal(a, b), (function, a - b)
a, b = same(ei, 9_500, jax.devices())
assert jnp.allclose(a, b, atol=1e-6), (a, b)
a, b = same(ei_parts, None, jax.devices(), threshold=0.05)
assert jnp.allclose(a, b, rtol=1e-6), (a, b)
print("equal")
"""


def test_eight_devices_count_what_one_counts():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags},
    )
    assert done.stdout == "equal\n", done.stderr


@pytest.mark.parametrize(("function", "passes"), [(ei_parts, 1), (sensitivity, 3), (ei, 1)])
def test_progress_ends_at_all_of_it(function, passes):
    channel = Channel.from_weight(jnp.ones((3, 2)), None, "sigmoid", in_range=(-1, 1))
    seen = []
    method = Sampling(
        5500, batch_size=2000, progress=lambda done, total: seen.append((done, total))
    )
    function(channel, None, key=jr.key(0), in_bins=4, out_bins=4, method=method)
    jax.effects_barrier()
    assert {total for _, total in seen} == {5500 * passes}
    steps = [2000, 4000, 5500]
    assert sorted(done for done, _ in seen) == [5500 * p + s for p in range(passes) for s in steps]
