"""The toy networks of Mattsson, Michaud and Hoel (2020): their published curves beside exact ones.

The published values are plug-in estimates from 30 000 samples: above the exact ones by a bias of up
to (bins - 1)^2 / (60 000 ln 2) bits a pair, with a scatter of about a hundredth of a bit.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import GOLDEN

from jaxinfo.ei import Exact, ei_parts
from jaxinfo.network import Channel

DATA = np.load(GOLDEN / "paper" / "toy_networks.npz")
SCATTER = 0.02  # twice the standard error of a plug-in of four bits from 30 000 samples


def exact(weights, bins):
    """EI_parts of a sigmoid neuron for each row of weights, no bias, inputs in (0, 1)."""

    def one(w):
        channel = Channel.from_weight(w[:, None], None, "sigmoid", in_range=(0.0, 1.0))
        return ei_parts(channel, None, in_bins=bins, out_bins=bins, method=Exact())

    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(weights, jnp.float32)))


def excess_is_bias_and_scatter(published, exactly, bins, pairs):
    # Estimates below a hundredth of a bit were published as 0.
    published, exactly = published.ravel(), exactly.ravel()
    seen = published > 0
    bias = pairs * (bins - 1) ** 2 / (60_000 * np.log(2))
    excess = (published - exactly)[seen]
    assert seen.sum() > 0.9 * seen.size and np.all(exactly[~seen] < 0.02 * pairs)
    assert excess.min() > -2 * SCATTER and excess.max() < bias + 2 * SCATTER


@pytest.mark.parametrize("bins", [8, 64])
def test_one_connection(bins):
    """One input and one output: the vector quantity and that of the parts are one."""
    w = DATA[f"ei_parts/AB/Sigmoid/{bins}/w"]
    exactly = exact(w[:, None], bins)
    for quantity in ("ei", "ei_parts"):
        assert np.array_equal(DATA[f"{quantity}/AB/Sigmoid/{bins}/w"], w)
        excess_is_bias_and_scatter(DATA[f"{quantity}/AB/Sigmoid/{bins}/ei"], exactly, bins, pairs=1)


def test_two_connections():
    w = np.stack([DATA[f"ei_parts/ABC/Sigmoid/64/{name}"] for name in ("wA", "wB")], -1)
    exactly = exact(w.reshape(-1, 2), 64)
    excess_is_bias_and_scatter(DATA["ei_parts/ABC/Sigmoid/64/ei"], exactly, 64, pairs=2)
