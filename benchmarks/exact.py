"""Exact EI against the peer's histogram: error and time on the same layers.

`python -m benchmarks exact` times the rows; `python -m benchmarks.exact` prints the table of the docs.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo import Channel
from jaxinfo.ei import Exact, ei_parts

from ._harness import Case, row
from ._peers import deep_ei

# Inputs, outputs, bins.
LAYERS = {"20-10 64 bins": (20, 10, 64), "5-5 16 bins": (5, 5, 16), "100-20 16 bins": (100, 20, 16)}


def _both(n_in, n_out, bins):
    """The exact value and the peer's estimate of one layer, as functions."""
    import torch

    peer = deep_ei()
    torch.manual_seed(0)
    layer = torch.nn.Linear(n_in, n_out)
    topology = peer.topology_of(layer, input=torch.zeros((1, n_in)))
    weight, bias = jnp.asarray(layer.weight.detach().numpy().T), layer.bias.detach().numpy()
    options = {"in_bins": bins, "out_bins": bins}

    @jax.jit
    def value(weight):
        channel = Channel.from_weight(weight, bias, "sigmoid", in_range=(0.0, 1.0))
        return ei_parts(channel, None, method=Exact(), **options)

    def sampled(samples):
        return peer.ei_parts(
            layer,
            topology,
            samples=samples,
            batch_size=min(samples, 100_000),
            in_range=(0, 1),
            out_range=(0, 1),
            activation=torch.sigmoid,
            **options,
        )

    return value, weight, sampled


def _agree(found, expected):
    assert np.isclose(float(found), float(expected), rtol=0.02), (found, expected)


for name, layer in LAYERS.items():
    # As many samples as bring the peer's bias near 1%: (bins - 1)^2 / (2 N ln 2) bits a pair.
    @row(f"exact {name}", peer="deep-ei within about 1%")
    def exact(quick, layer=layer):
        value, weight, sampled = _both(*layer)
        pairs, bins = layer[0] * layer[1], layer[2]
        bias = pairs * (bins - 1) ** 2 / (2 * np.log(2))
        samples = int(np.ceil(bias / (0.01 * float(value(weight))) / 1e5) * 1e5)
        return Case(lambda: value(weight), lambda: sampled(samples), _agree)


@row("exact 784-128 16 bins", peer="-")
def large(quick):
    value, weight, _ = _both(784, 128, 16)
    return Case(lambda: value(weight), None, lambda found, _: None)


for size in ((20, 10, 64), (100, 20, 16)):

    @row(f"exact gradient {size[0]}-{size[1]} {size[2]} bins", peer="the value alone")
    def gradient(quick, size=size):
        value, weight, _ = _both(*size)
        both = jax.jit(jax.value_and_grad(value))

        def check(found, expected):
            assert np.isclose(found[0], expected, rtol=1e-5) and np.all(np.isfinite(found[1]))

        return Case(lambda: both(weight), lambda: value(weight), check)


def _table():
    print("| layer | method | bits | error | time |\n|---|---|---|---|---|")
    for name, layer in LAYERS.items():
        _rows_of(name, *_both(*layer))


def _rows_of(name, value, weight, sampled):
    truth, seconds = float(value(weight)), _best(lambda: value(weight))
    print(f"| {name} | `Exact()` | {truth:.5f} | | {1e3 * seconds:.2g} ms |")
    for samples in (10_000, 100_000, 1_000_000):
        found = float(sampled(samples))
        seconds = _best(lambda samples=samples: sampled(samples), repeats=2)
        error = f"{(found - truth) / truth:+.1%}"
        print(f"| | deep_ei, {samples:,} samples | {found:.4f} | {error} | {seconds:.2g} s |")


def _best(fn, repeats=5):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(fn())
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    _table()
