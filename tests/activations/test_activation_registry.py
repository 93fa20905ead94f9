"""What the registry says of each activation, held against the function itself."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxinfo.activations import (
    ACTIVATIONS,
    Activation,
    Piece,
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
GRID = np.array([*np.linspace(-9, 9, 73), *KINKS, *HUGE, *(-x for x in HUGE)])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@every
def test_never_nan_and_keeps_the_dtype(entry, dtype):
    x = jnp.asarray(GRID).astype(dtype)
    value, slope = entry(x), entry.derivative(x)
    assert value.dtype == slope.dtype == dtype
    assert not jnp.any(jnp.isnan(value)), x[jnp.isnan(value)]
    assert not jnp.any(jnp.isnan(slope)), x[jnp.isnan(slope)]


@every
def test_derivative_is_the_gradient(entry, x64):
    x = jnp.asarray(GRID)
    expected = jax.vmap(jax.grad(entry.fn))(x)
    if entry.surrogate is not None:
        np.testing.assert_array_equal(expected, 0)
        expected = jnp.ones_like(x)
    np.testing.assert_allclose(entry.derivative(x), expected, rtol=1e-9, atol=1e-14)


@every
def test_derivative_is_the_slope(entry, x64):
    x = jnp.asarray(np.linspace(-8, 8, 40))  # no kink on it
    step = 1e-6
    slope = (entry.fn(x + step) - entry.fn(x - step)) / (2 * step)
    if entry.surrogate is None:
        np.testing.assert_allclose(jax.vmap(jax.grad(entry.fn))(x), slope, rtol=1e-6, atol=1e-6)


@every
def test_jit_and_vmap_agree_with_eager(entry):
    x = jnp.asarray(GRID, jnp.float32).reshape(-1, 2)
    np.testing.assert_allclose(jax.jit(entry.fn)(x), entry(x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(entry.fn)(x), entry(x), rtol=1e-6, atol=1e-6)


@shaped
def test_knots_lie_on_the_function(entry, x64):
    far = 1e6
    for piece in entry.pieces:
        for x, y, inward in (
            (piece.start, piece.at_start, 1.0),
            (piece.stop, piece.at_stop, -1.0),
        ):
            if math.isinf(x):
                value = float(entry(jnp.asarray(math.copysign(far, x))))
                assert (abs(value) > far / 200) if math.isinf(y) else abs(value - y) < 1e-5
            else:
                value = float(entry(jnp.asarray(x + inward * 1e-9)))
                assert value == pytest.approx(y, abs=1e-7)


@shaped
def test_pieces_are_monotone(entry, x64):
    for piece in entry.pieces:
        start, stop = max(piece.start, -30.0), min(piece.stop, 30.0)
        x = jnp.linspace(start, stop, 2001)[1:-1]
        steps = jnp.diff(entry(x))
        if piece.direction:
            assert jnp.all(steps * piece.direction >= -1e-14)  # rounding of the tails
            assert jnp.any(steps != 0)
        else:
            np.testing.assert_array_equal(entry(x), piece.at_start)


@shaped
def test_range_is_that_of_the_knots(entry):
    values = entry(jnp.linspace(-60.0, 60.0, 24001))
    assert entry.lower - 1e-6 <= values.min() and values.max() <= entry.upper + 1e-6
    low, high = entry.default_range
    assert low <= high and math.isfinite(low) and math.isfinite(high)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "quick_gelu", "silu", "mish", "telu"])
def test_turning_points_are_minima(name, x64):
    entry = ACTIVATIONS[name]
    (turn,) = entry.turning_points
    assert float(entry.derivative(jnp.asarray(turn))) == pytest.approx(0, abs=1e-12)
    assert float(entry(jnp.asarray(turn))) == pytest.approx(entry.lower, abs=1e-14)


@pytest.mark.parametrize("entry", [e for e in SHAPED if e.inverse is not None], ids=repr)
def test_inverse(entry, x64):
    for piece in entry.pieces:
        if piece.direction:
            x = jnp.linspace(max(piece.start, -8.0), min(piece.stop, 8.0), 50)[1:-1]
            np.testing.assert_allclose(entry.inverse(entry(x)), x, rtol=1e-9, atol=1e-9)


@shaped
@pytest.mark.parametrize("strict", [False, True])
def test_preimages_are_the_distribution_function(entry, strict, x64):
    """What the exact route needs: P(f(Z) <= y), counted piece by piece."""
    z = np.asarray(jr.uniform(jr.key(0), (3000,), minval=-6.0, maxval=9.0))
    image = np.asarray(entry(jnp.asarray(z)))
    levels = jnp.asarray([*np.linspace(-3.3, 7.7, 45), 0.0, 1.0, 6.0, -1.0])
    levels = jnp.concatenate([levels, jnp.clip(jnp.asarray([entry.lower, entry.upper]), -8, 8)])
    counted = np.zeros(len(levels))
    for piece, x in zip(entry.pieces, entry.preimages(levels, strict=strict), strict=True):
        here = (z > piece.start) & (z < piece.stop)
        before = z[None] <= np.asarray(x)[:, None]
        counted += np.sum(here & (before if piece.direction >= 0 else ~before), axis=1)
    y = np.asarray(levels)[:, None]
    np.testing.assert_array_equal(counted, np.sum(image < y if strict else image <= y, axis=1))


@shaped
def test_preimages_invert_and_their_gradient_is_that_of_the_inverse(entry, x64):
    for k, piece in enumerate(entry.pieces):
        if not piece.direction:
            continue
        x = jnp.linspace(max(piece.start, -4.0), min(piece.stop, 5.0), 9)[1:-1]
        y = entry(x)
        found, slope = jax.vmap(jax.value_and_grad(lambda y, k=k: entry.preimages(y)[k]))(y)
        np.testing.assert_allclose(found, x, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(slope * jax.vmap(jax.grad(entry.fn))(x), 1, rtol=1e-6)


@shaped
def test_preimages_have_finite_gradients_at_every_level(entry):
    levels = jnp.asarray([-jnp.inf, -1e30, -1.0, 0.0, entry.lower, entry.upper, 1.0, 6.0, 1e30])

    def total(y):
        return sum(jnp.where(jnp.isfinite(x), x, 0) for x in entry.preimages(y))

    assert jnp.all(jnp.isfinite(jax.vmap(jax.grad(total))(levels)))
    assert not any(jnp.any(jnp.isnan(x)) for x in jax.jit(entry.preimages)(levels))


def test_shape_of_a_few_by_hand():
    inf = math.inf
    assert ACTIVATIONS["relu"].pieces == (Piece(-inf, 0.0, 0.0, 0.0), Piece(0.0, inf, 0.0, inf))
    assert [p.direction for p in ACTIVATIONS["hard_silu"].pieces] == [0, -1, 1, 1]
    assert ACTIVATIONS["hard_silu"].breakpoints == (-3, -1.5, 3)
    assert ACTIVATIONS["heaviside"].atoms == ((0, -inf, 0), (1, 0, inf))
    assert ACTIVATIONS["tanh"].breakpoints == ACTIVATIONS["tanh"].turning_points == ()
    assert ACTIVATIONS["relu"].turning_points == ()
    assert ACTIVATIONS["lrelu"] is ACTIVATIONS["leaky_relu"]


@every
def test_recognises_itself_jitted(entry):
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


@pytest.mark.parametrize("fn", [jnp.cos, lambda x: 1.01 * jax.nn.relu(x), jnp.sqrt])
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


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_create_function_knows_every_activation(name):
    f, d_f = create_function(name)
    x = jnp.linspace(-2.0, 2.0, 5)
    np.testing.assert_array_equal(f(x), ACTIVATIONS[name](x))
    np.testing.assert_array_equal(d_f(x), ACTIVATIONS[name].derivative(x))


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
