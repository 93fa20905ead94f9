"""The error that `Exact` claims holds for any function: NumPy finds where the bins of $f(z)$ change.

With these places, found on a fine grid and by halving, the tables are differences of the distribution of a
sum of three uniform variables, a cubic in pieces.
"""

import itertools
import math
import warnings

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.special

from jaxinfo import Channel
from jaxinfo.ei import Exact, Sampling
from jaxinfo.ei._intervention import Setting
from jaxinfo.ei._table import Column, columns_of, noise_pairs
from jaxinfo.info import Binning

WEIGHTS = np.array([1.3, -0.5, 0.8], np.float32)
BIAS = np.float32(0.1)
BINS = 8


def erf(xp, x):
    return (scipy if xp is np else jax.scipy).special.erf(x)


def gelu(xp, x):
    return x * (1 + erf(xp, x / math.sqrt(2))) / 2


def relu(xp, x):
    return xp.maximum(x, 0)


# Each with the range of its bins, and of the inputs: (-r, r).
CASES = {
    "step down": (lambda xp, x: xp.where(x > 0.3, 0.0, 1.0), (0, 1), 2),
    "step up and down": (lambda xp, x: xp.where(abs(x - 1) < 0.5, 1.0, 0.0), (0, 1), 2),
    "stairs down": (lambda xp, x: -xp.floor(x), (-6, 6), 2),
    "whole numbers": (lambda xp, x: xp.floor(x), (-6, 6), 2),
    "rounded": (lambda xp, x: xp.round(2 * x) / 2, (-4, 4), 2),
    "sign": (lambda xp, x: xp.sign(x - 0.7), (-1, 1), 2),
    "relu, 0 above 2": (lambda xp, x: xp.where(x > 2, 0.0, relu(xp, x)), (0, 2), 2),
    "window": (lambda xp, x: xp.where(abs(x) < 1, x, 0.0), (-1, 1), 2),
    "window at a level": (lambda xp, x: xp.where(abs(x) < 1, x**2, 0.37), (0, 1), 2),
    "sawtooth": (lambda xp, x: x - xp.floor(x), (0, 1), 2),
    "falling sawtooth": (lambda xp, x: xp.ceil(x / 2) - x / 2, (0, 1), 2),
    "triangle": (lambda xp, x: abs(x - 2 * xp.round(x / 2)), (0, 1), 2),
    "square wave": (lambda xp, x: xp.where(xp.sin(3 * x) > 0, 1.0, -1.0), (-1, 1), 2),
    "sine": (lambda xp, x: xp.sin(5 * x), (-1, 1), 2),
    "cosine of a square": (lambda xp, x: xp.cos(x**2), (-1, 1), 2),
    "damped wave": (lambda xp, x: xp.exp(-abs(x)) * xp.sin(8 * x), (-1, 1), 2),
    "pole": (lambda xp, x: 1 / x, (-4, 4), 2),
    "pole of two": (lambda xp, x: 1 / (x - 0.5) ** 2, (0, 4), 2),
    "tangent": (lambda xp, x: xp.tan(x), (-3, 3), 2),
    "root with a hole": (lambda xp, x: xp.sqrt(x - 0.2), (0, 2), 2),
    "narrow bump": (lambda xp, x: xp.exp(-(((x - 0.6) * 40) ** 2)), (0, 1), 2),
    "narrow box": (lambda xp, x: xp.where(abs(x - 0.6) < 1e-3, 1.0, x / 6), (-1, 1), 2),
    "bell on a level": (lambda xp, x: xp.exp(-(x**2)) + 1, (1, 2), 2),
    "gelu + 1": (lambda xp, x: gelu(xp, x) + 1, (0.75, 8.75), 10),
    "4 gelu - 3": (lambda xp, x: 4 * gelu(xp, x) - 3, (-4, 28), 10),
    "steep": (lambda xp, x: xp.tanh(200 * (x - 0.4)), (-1, 1), 2),
    "cut off at 33": (lambda xp, x: xp.clip(x, 0, 33), (0, 40), 20),
    "relu, 0 above 34": (lambda xp, x: xp.where(x > 34, 0.0, relu(xp, x)), (0, 40), 20),
    "plateaus": (lambda xp, x: xp.clip(x, -1, 0.5) + xp.clip(x - 1, 0, 1), (-2, 2), 2),
    "valley": (lambda xp, x: abs(abs(x - 0.3) - 1), (0, 5), 2),
    "wave on a slope": (lambda xp, x: x + 0.8 * xp.sin(4 * x), (-6, 6), 2),
}


def distribution(widths, y):
    """P(S <= y) for the sum of uniforms on (-w, w), by its corners."""
    y = np.clip(y, -sum(widths), sum(widths))
    n, total = len(widths), 0.0
    for signs in itertools.product((1, -1), repeat=n):
        corner = y + np.dot(signs, widths)
        total = total + math.prod(signs) * np.maximum(corner, 0) ** n
    return total / (math.factorial(n) * 2**n * math.prod(widths))


def expected(fn, span, r):
    """The information of each pair: bits."""
    edges = np.linspace(*span, BINS + 1)
    weight = np.float64(WEIGHTS) * r

    def number(z):
        with np.errstate(all="ignore"):
            y = fn(np, z)
        found = np.searchsorted(edges, y, "right")  # 0 and more than the bins: outside
        found = np.where(y == edges[-1], BINS, found)
        return np.where(np.isnan(y), 0, found) % (BINS + 1)

    reach = np.sum(abs(weight))
    z = BIAS + np.linspace(-reach, reach, 2**20) + 1e-7 / math.pi
    at = number(z)
    (change,) = np.nonzero(at[1:] != at[:-1])
    low, high, left = z[change], z[change + 1], at[change]
    for _ in range(50):
        middle = (low + high) / 2
        stays = number(middle) == left
        low, high = np.where(stays, middle, low), np.where(stays, high, middle)
    places = np.concatenate([[-1e9], high, [1e9]])
    bins = np.concatenate([at[:1], at[change + 1]])
    bits = []
    for a in range(len(weight)):
        widths = abs(weight)
        shifts = weight[a] * ((2 * np.arange(BINS) + 1) / BINS - 1)
        widths[a] /= BINS
        below = distribution(widths, places - BIAS - shifts[:, None])
        table = np.diff(below, axis=1) @ np.eye(BINS + 1)[bins][:, 1:]
        p = table / table.sum()
        q = p.sum(1, keepdims=True) * p.sum(0)
        seen = p > 0
        bits.append(np.sum(p[seen] * np.log2(p[seen] / q[seen])))
    return np.array(bits)


def column(fn, span, r):
    channel = Channel.from_weight(WEIGHTS[:, None], jnp.array([BIAS]), fn, in_range=(-r, r))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return columns_of(Setting(channel, Binning(BINS, -r, r), Binning(BINS, *span)))


def test_the_claimed_error_holds_for_functions_of_every_kind():
    columns = [column(lambda x, fn=fn: fn(jnp, x), *rest) for fn, *rest in CASES.values()]
    most = max(c.edges.shape[1] for c in columns)

    def filled(c):
        """With branches of no weight, so that all share compiled code."""
        more = most - c.edges.shape[1]
        edges = jnp.pad(c.edges[0], ((0, more), (0, 0)), constant_values=jnp.inf)
        return Column(c.weight[0], c.bias[0], edges, jnp.pad(c.signs, (0, more)), c.inputs)

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *map(filled, columns))
    found = jax.jit(lambda c: jax.lax.map(noise_pairs, c))(stacked)
    wrong = {}
    for i, (name, case) in enumerate(CASES.items()):
        off = abs(np.asarray(found.bits[i], float) - expected(*case))
        if np.any(off > found.error[i]):
            wrong[name] = (off, np.asarray(found.error[i]))
    assert not wrong
    assert np.max(found.error) < 2e-4


QUANTISED = (jnp.floor, jnp.round, jnp.sign, lambda x: (3 * x).astype(jnp.int32))


@pytest.mark.parametrize("bins, span", ((7, (-3, 4)), (50, (0, 49))))
def test_sampling_and_exact_agree_on_quantised_layers(bins, span):
    """Their values lie on edges of bins; samples know the sum of all pairs to five of its errors."""
    weight = jnp.array([[1.7, -0.4], [0.9, 1.1]])
    inputs, outputs = Binning(bins, -4, 4), Binning(bins, *span, out_of_range="clip")

    def together(x):
        return jnp.concatenate([fn(x @ weight).astype(float) for fn in QUANTISED])

    setting = Setting(Channel(together, 2), inputs, outputs)
    sampled = Sampling(samples=100_000).parts(setting, jr.key(bins), None, with_error=True)
    layers = [Channel.from_weight(weight, None, fn) for fn in QUANTISED]
    exact = [Exact().parts(Setting(layer, inputs, outputs), None, None) for layer in layers]
    off = jnp.sum(sampled.matrix) - sampled.bias - sum(jnp.sum(e.matrix) for e in exact)
    assert abs(off) < 5 * sampled.standard_error + sum(e.standard_error for e in exact)


def test_a_layer_of_whole_numbers_is_a_channel_of_floats():
    gate = Channel.from_weight(jnp.eye(2), None, lambda x: x > 0)
    np.testing.assert_array_equal(gate(jnp.array([-1.0, 2.0])), [0.0, 1.0])
    setting = Setting(gate, Binning(4, -1, 1), Binning(2, 0, 1))
    np.testing.assert_allclose(Exact().parts(setting, None, None).matrix, np.eye(2), atol=1e-6)
