"""What the registry says of each activation, held against the function itself."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo import activations
from jaxinfo.activations import (
    ACTIVATIONS,
    Activation,
    Piece,
    _registry,
    _shape,
    as_activation,
    create_function,
    recognise,
    with_pieces,
)

ENTRIES = list({entry.name: entry for entry in ACTIVATIONS.values()}.values())
SHAPED = [entry for entry in ENTRIES if entry.knots]
every = pytest.mark.parametrize("entry", ENTRIES, ids=repr)
shaped = pytest.mark.parametrize("entry", SHAPED, ids=repr)

KINKS = [0.0, -0.0, 1.0, -1.0, 1.5, -1.5, 3.0, -3.0, 6.0]
HUGE = [30.0, 90.0, 110.0, 800.0, 801.0, 1e4, 1e18, 1e20, 1e30, 3e38, math.inf]
TINY = [1e-40, 1e-38, 1e-8]
GRID = np.array(
    [*np.linspace(-9, 9, 73), *KINKS, *HUGE, *(-x for x in HUGE), *TINY, *(-x for x in TINY)]
)
DTYPES = (jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16)
LENGTH = 3072


@functools.cache
def _compiled(entry):
    """Value, `derivative` and `jax.grad` for one length of input, whatever the test needs."""
    return jax.jit(lambda x: (entry(x), entry.derivative(x), jax.vmap(jax.grad(entry.fn))(x)))


def evaluate(entry, points):
    """The three at these points, in double precision; all of one entry share a compilation."""
    points = np.asarray(points, np.float64)
    padded = np.zeros(LENGTH)
    padded[: len(points)] = points
    return [np.asarray(x)[: len(points)] for x in _compiled(entry)(jnp.asarray(padded))]


@functools.cache
def on_the_grid(entry):
    """The same on the grid in every dtype, by one compilation."""
    xs = [jnp.asarray(GRID).astype(dtype) for dtype in DTYPES]
    found = jax.jit(
        lambda xs: [(entry(x), entry.derivative(x), jax.vmap(jax.grad(entry.fn))(x)) for x in xs]
    )(xs)
    return {dtype.__name__: (x, *rest) for dtype, x, rest in zip(DTYPES, xs, found, strict=True)}


@every
def test_never_nan_and_keeps_the_dtype(entry, x64):
    for dtype in DTYPES:
        x, *found = on_the_grid(entry)[dtype.__name__]
        for values in found:
            assert values.dtype == dtype
            assert not np.any(np.isnan(np.asarray(values, np.float64))), (x, values)


@every
def test_derivative_is_the_gradient(entry, x64):
    for dtype in DTYPES:
        _, _, derivative, gradient = on_the_grid(entry)[dtype.__name__]
        if entry.surrogate is not None:
            np.testing.assert_array_equal(gradient, 0)
            gradient = jnp.ones_like(gradient)
        gradient = np.asarray(gradient, np.float64)
        # Forward and backward round differently, and terms of size 1 cancel where f' is small. In
        # the tail of tanh-GELU the rounding of tanh is multiplied by x times a slope: by up to 20.
        eps = float(jnp.finfo(dtype).eps)
        terms = 32 if entry.name == "gelu_tanh" else 4
        rtol, atol = (1e-9, 1e-14) if dtype == jnp.float64 else (8 * eps, terms * eps)
        derivative = np.asarray(derivative, np.float64)
        np.testing.assert_allclose(derivative, gradient, rtol=rtol, atol=atol)


@every
def test_derivative_is_the_slope(entry, x64):
    x = np.linspace(-8, 8, 40)  # no kink on it
    step = 1e-6
    above, below = evaluate(entry, x + step)[0], evaluate(entry, x - step)[0]
    slope = (above - below) / (2 * step)
    np.testing.assert_allclose(evaluate(entry, x)[2], slope, rtol=1e-6, atol=1e-6)


def test_jit_and_vmap_agree_with_eager(x64):
    x = jnp.asarray(GRID)
    for entry in ENTRIES:
        eager = entry(x)
        np.testing.assert_allclose(on_the_grid(entry)["float64"][1], eager, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(jax.jit(jax.vmap(entry.fn))(x), eager, rtol=1e-12, atol=1e-14)


@shaped
def test_knots_lie_on_the_function(entry, x64):
    far = 1e6
    for piece in entry.pieces:
        for x, y, inward in (
            (piece.start, piece.at_start, 1.0),
            (piece.stop, piece.at_stop, -1.0),
        ):
            if math.isinf(x):
                value = evaluate(entry, [math.copysign(far, x)])[0][0]
                assert (abs(value) > far / 200) if math.isinf(y) else abs(value - y) < 1e-5
            else:
                value = evaluate(entry, [x + inward * 1e-9])[0][0]
                assert value == pytest.approx(y, abs=1e-7)


@shaped
def test_pieces_are_monotone(entry, x64):
    for piece in entry.pieces:
        start, stop = max(piece.start, -30.0), min(piece.stop, 30.0)
        values = evaluate(entry, np.linspace(start, stop, 2001)[1:-1])[0]
        steps = np.diff(values)
        if piece.direction:
            assert np.all(steps * piece.direction >= -1e-14)  # rounding of the tails
            assert np.any(steps != 0)
        else:
            np.testing.assert_array_equal(values, piece.at_start)


@every
def test_range_is_that_of_the_knots(entry, x64):
    values = evaluate(entry, np.linspace(-60.0, 60.0, LENGTH))[0]
    assert entry.lower - 1e-12 <= values.min() and values.max() <= entry.upper + 1e-12
    for bound, reached in ((entry.lower, values.min()), (entry.upper, values.max())):
        assert abs(reached) > 0.5 if math.isinf(bound) else abs(bound - reached) < 0.02
    low, high = entry.default_range
    assert low <= high and math.isfinite(low) and math.isfinite(high)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "quick_gelu", "silu", "mish", "telu"])
def test_turning_points_are_minima(name, x64):
    entry = ACTIVATIONS[name]
    (turn,) = entry.turning_points
    value, slope, _ = evaluate(entry, [turn])
    assert slope[0] == pytest.approx(0, abs=1e-12)
    assert value[0] == pytest.approx(entry.lower, abs=1e-14)


@pytest.mark.parametrize("entry", [e for e in SHAPED if e.inverse is not None], ids=repr)
def test_inverse(entry, x64):
    inverse = jax.jit(entry.inverse)
    for piece in entry.pieces:
        if piece.direction:
            x = np.linspace(max(piece.start, -8.0), min(piece.stop, 8.0), 50)[1:-1]
            np.testing.assert_allclose(inverse(evaluate(entry, x)[0]), x, rtol=1e-9, atol=1e-9)


@functools.cache
def _inverted(entry):
    """Preimages of levels, their derivatives, and the preimages for `<`: one compilation."""

    def found(y):
        x, pull = jax.vjp(entry.preimages, y)
        each = [
            pull(tuple(jnp.where(i == k, jnp.ones_like(y), 0) for i in range(len(x))))[0]
            for k in range(len(x))
        ]
        # Strict or not is one and the same but for atoms.
        return x, each, entry.preimages(y, strict=True) if entry.atoms else x

    return jax.jit(found)


def invert(entry, levels):
    levels = np.asarray(levels, np.float64)
    padded = np.zeros(128)
    padded[: len(levels)] = levels
    found = _inverted(entry)(jnp.asarray(padded))
    return jax.tree.map(lambda x: np.asarray(x)[: len(levels)], found)


@shaped
def test_preimages_are_the_distribution_function(entry, x64):
    """What the exact route needs: P(f(Z) <= y) and P(f(Z) < y), counted piece by piece."""
    z = np.random.default_rng(0).uniform(-6.0, 9.0, LENGTH)
    image = evaluate(entry, z)[0]
    levels = np.array([*np.linspace(-3.3, 7.7, 45), 0.0, 1.0, 6.0, -1.0])
    levels = np.concatenate([levels, np.clip([entry.lower, entry.upper], -8, 8)])
    loose, _, strict = invert(entry, levels)
    for preimages, below in ((loose, np.less_equal), (strict, np.less)):
        counted = np.zeros(len(levels))
        for piece, x in zip(entry.pieces, preimages, strict=True):
            here = (z > piece.start) & (z < piece.stop)
            before = z[None] <= x[:, None]
            counted += np.sum(here & (before if piece.direction >= 0 else ~before), axis=1)
        np.testing.assert_array_equal(counted, np.sum(below(image, levels[:, None]), axis=1))


@shaped
def test_preimages_invert_and_their_gradient_is_that_of_the_inverse(entry, x64):
    for k, piece in enumerate(entry.pieces):
        if not piece.direction:
            continue
        x = np.linspace(max(piece.start, -4.0), min(piece.stop, 5.0), 9)[1:-1]
        y, _, slope = evaluate(entry, x)
        found, gradients, _ = invert(entry, y)
        np.testing.assert_allclose(found[k], x, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(gradients[k] * slope, 1, rtol=1e-6)


@shaped
def test_preimages_have_finite_gradients_at_every_level(entry, x64):
    inf = math.inf
    levels = [-inf, -1e30, -1.0, 0.0, entry.lower, entry.upper, 1.0, 6.0, 1e30, inf]
    found, gradients, _ = invert(entry, levels)
    assert not any(np.any(np.isnan(x)) for x in found)
    assert all(np.all(np.isfinite(g)) for g in gradients)


def test_shape_of_a_few_by_hand():
    inf = math.inf
    assert ACTIVATIONS["relu"].pieces == (Piece(-inf, 0.0, 0.0, 0.0), Piece(0.0, inf, 0.0, inf))
    assert [p.direction for p in ACTIVATIONS["hard_silu"].pieces] == [0, -1, 1, 1]
    assert ACTIVATIONS["hard_silu"].breakpoints == (-3, -1.5, 3)
    assert ACTIVATIONS["heaviside"].atoms == ((0, -inf, 0), (1, 0, inf))
    assert ACTIVATIONS["tanh"].breakpoints == ACTIVATIONS["tanh"].turning_points == ()
    assert ACTIVATIONS["relu"].turning_points == ()
    assert ACTIVATIONS["lrelu"] is ACTIVATIONS["leaky_relu"]


def test_recognises_while_it_is_mapped():
    found = []

    def one(x):
        _registry._laws.cache_clear()  # as in a new process
        found.extend((recognise(jax.nn.silu), as_activation(lambda x: 3 * jax.nn.relu(x) - x)))
        return x

    jax.vmap(one)(jnp.ones(2))
    assert found[0].name == "silu" and found[1].lower == 0 and found[1].upper == 20


def test_recognises_itself_jitted():
    for entry in ENTRIES:
        assert recognise(jax.jit(entry.fn)) is entry


REWRITTEN = {
    "relu": lambda x: (x + jnp.abs(x)) / 2,
    "silu": lambda x: x / (1 + jnp.exp(-x)),
    "tanh": lambda x: 2 * jax.nn.sigmoid(2 * x) - 1,
    "softplus": lambda x: jnp.log1p(jnp.exp(x)),
    "gelu": lambda x: x * jax.scipy.stats.norm.cdf(x),
    "relu6": lambda x: jnp.clip(x, 0, 6),
    "spike": lambda x: jnp.where(x > 0, 1.0, 0.0),
    "elu": lambda x: jax.nn.celu(x),
    "identity": lambda x: 1.0 * x,
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_recognises_by_value(name):
    assert recognise(REWRITTEN[name]).name == name


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "gelu", "gelu_tanh", "silu", "elu"])
def test_recognises_a_bfloat16_model(name):
    fn = ACTIVATIONS[name].fn
    assert recognise(lambda x: fn(x.astype(jnp.bfloat16))).name == name


@pytest.mark.parametrize(
    "fn", [jnp.cos, lambda x: 1.01 * jax.nn.relu(x), jnp.sqrt, lambda x: jnp.clip(x, 0, 20)]
)
def test_does_not_recognise_strangers(fn):
    assert recognise(fn) is None


def test_an_unknown_function_gets_a_measured_range_and_no_shape():
    entry = as_activation(jnp.cos)
    assert entry.default_range == pytest.approx((-1, 1), abs=1e-5)
    with pytest.raises(ValueError, match="monotone pieces of activation 'cos' are not known"):
        entry.preimages(jnp.zeros(2))


def test_a_described_function_can_be_inverted():
    knots = ((-math.inf, math.inf), (0, 0), (math.inf, math.inf))
    square = Activation.through("square", jnp.square, *knots)
    assert square.default_range == (0.0, 10.0)
    left, right = square.preimages(jnp.array([4.0]))
    np.testing.assert_allclose([left[0], right[0]], [-2, 2], rtol=1e-6)


@pytest.mark.parametrize("knots", [(), ((0, 0), (1, 1)), ((-math.inf, 0), (1, 1), (0, 0))])
def test_knots_must_run_over_the_line(knots):
    with pytest.raises(ValueError, match="must run from x = -inf"):
        Activation.through("wrong", jnp.square, *knots)


def test_unknown_names_list_the_known():
    with pytest.raises(KeyError, match="Did you mean 'tanh'"):
        as_activation("tanhh")
    with pytest.raises(KeyError, match="Known: .*'softmax'"):
        create_function("nope")


def test_create_function_knows_every_activation():
    for name, entry in ACTIVATIONS.items():
        f, d_f = create_function(name)
        assert f is entry.fn and d_f == entry.derivative


def test_create_function_knows_every_exported_function():
    """Each `d_f` of the package belongs to the `f` of its name."""
    x = jnp.array([-jnp.inf, -1.0, 0.0, 0.5, 6.0, jnp.inf])
    for name in vars(activations):
        if name.startswith("d_") and name != "d_softmax":
            f, d_f = create_function({"threshold": "unit_threshold"}.get(name[2:], name[2:]))
            assert f is getattr(activations, name[2:])
            np.testing.assert_array_equal(d_f(x), getattr(activations, name)(x))
    assert create_function("softmax") == (activations.softmax, activations.d_softmax)
    assert create_function("bkwta") == (activations.bkwta, activations.bkwta)


@shaped
def test_a_scan_finds_the_described_shape(entry):
    """All but the kinks between two rising pieces, and ends of tails that rounding flattens."""
    found = with_pieces(dataclasses.replace(entry, knots=()))
    np.testing.assert_allclose(found.turning_points, entry.turning_points, atol=1e-6)
    assert found.lower == pytest.approx(entry.lower, abs=1e-9)
    assert found.upper == pytest.approx(entry.upper, abs=1e-9)
    for atom in entry.atoms:
        assert any(np.allclose(atom, other, atol=1e-9) for other in found.atoms)


SCANNED = {
    "cube": (lambda x: x**3, []),
    "valley": (lambda x: jnp.abs(x - 1), [1.0]),
    "plateau": (lambda x: jnp.where(x < 0, x, jnp.where(x < 2, 0, x - 2)), [0.0, 2.0]),
    "root": (jnp.sqrt, [0.0, 0.0]),
    "pole": (lambda x: 1 / x, [0.0, 0.0]),
    "step": (lambda x: jnp.where(x > 0.3, 1.0, -1.0), [0.3, 0.3]),
}


@pytest.mark.parametrize("name", SCANNED)
def test_a_scan_finds_kinks_jumps_and_holes(name):
    fn, places = SCANNED[name]
    found = with_pieces(as_activation(fn))
    np.testing.assert_allclose([x for x, _ in found.knots[1:-1]], places, atol=1e-9)


def test_functions_without_end_of_turning_need_a_reach():
    with pytest.raises(ValueError, match="turns without end"):
        with_pieces(as_activation(jnp.sin))
    found = with_pieces(as_activation(jnp.sin), (-5.0, 5.0))
    np.testing.assert_allclose(found.turning_points, np.pi * np.array([-1.5, -0.5, 0.5, 1.5]))


def test_many_turning_points_are_refined_together(monkeypatch):
    calls, sampler = [], _shape._sampler

    def counted(fn):
        sample = sampler(fn)
        return lambda x: calls.extend([None] * -(-len(x) // _shape._CHUNK)) or sample(x)

    monkeypatch.setattr(_shape, "_sampler", counted)
    found = with_pieces(as_activation(lambda x: jnp.sin(30 * x)), (-5.0, 5.0))
    expected = (np.arange(-48, 48) + 0.5) * np.pi / 30
    np.testing.assert_allclose(found.turning_points, expected[np.abs(expected) < 5], atol=1e-7)
    assert len(calls) < 300
