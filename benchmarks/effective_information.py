"""Sampled effective information of a dense sigmoid layer, at equal numbers of samples."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo import Channel, ei as jaxinfo_ei
from jaxinfo.info import PlugIn

from ._harness import Case, row
from ._peers import deep_ei


def _case(function: str, n_in: int, n_out: int, bins: int, samples: int, tolerance: float) -> Case:
    import torch

    peer = deep_ei()
    torch.manual_seed(0)
    layer = torch.nn.Linear(n_in, n_out)
    topology = peer.topology_of(layer, input=torch.zeros((1, n_in)))
    options = {"in_range": (0, 1), "in_bins": bins, "out_range": (0, 1), "out_bins": bins}
    weight, bias = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
    channel = Channel.from_weight(weight, bias, "sigmoid")
    key = jax.random.key(0)

    # The peer's estimate is the plug-in; the default here is less biased, and would not agree.
    like = {} if function == "ei" else {"estimator": PlugIn()}

    def ours():
        measure = getattr(jaxinfo_ei, function)
        return measure(channel, None, key=key, samples=samples, **like, **options)

    def theirs():
        # The peer's default batch of 20 would time its Python loop: give it one batch.
        return getattr(peer, function)(
            layer,
            topology,
            samples=samples,
            batch_size=min(samples, 100_000),
            activation=torch.sigmoid,
            **options,
        )

    def check(found, expected):
        assert np.isclose(float(jnp.asarray(found)), float(expected), rtol=tolerance), (
            found,
            expected,
        )

    return Case(ours, theirs, check)


_SIZES = {"30-10": (30, 10), "100-50": (100, 50), "784-16": (784, 16)}

for size, (n_in, n_out) in _SIZES.items():
    for bins in (8, 64):

        @row(f"ei_parts {size} {bins} bins", peer="deep-ei")
        def parts(quick, n_in=n_in, n_out=n_out, bins=bins):
            samples = 10_000 if quick else 100_000 if n_in * n_out < 5000 else 20_000
            return _case("ei_parts", n_in, n_out, bins, samples, 0.2)


@row("ei 30-10 8 bins", peer="deep-ei")
def vector(quick):
    return _case("ei", 30, 10, 8, 10_000 if quick else 100_000, 0.01)


@row("sensitivity 30-10 64 bins", peer="deep-ei")
def alone(quick):
    return _case("sensitivity", 30, 10, 64, 1_000 if quick else 10_000, 0.02)
