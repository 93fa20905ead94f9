"""Spikes with a gradient: the documented formulas, and that `jax.grad` sees them."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo import surrogate
from jaxinfo.surrogate import AbstractSurrogate

# The formulas again, in NumPy: x is the distance from the threshold.
FORMULAS = {
    "StraightThrough": lambda x: np.ones_like(x),
    "Triangular": lambda x, alpha=2.0: np.maximum(0, 1 - alpha * np.abs(x)),
    "PiecewiseQuadratic": lambda x, beta=1.0: np.maximum(0, beta - beta**2 * np.abs(x)),
    "Arctan": lambda x, alpha=2.0: 1 / np.pi / (1 + (np.pi * alpha / 2 * x) ** 2),
    "SecantLIF": lambda x, c1=0.82, c2=0.08: np.where(
        x > 0, c1 * c2 / np.cosh(np.clip(c2 * x, -300, 300)) ** 2, 0
    ),
    "FastSigmoid": lambda x, beta=10.0: (1 + beta * np.abs(x)) ** -2.0,
    "Gaussian": lambda x, sigma=0.5: (
        np.exp(-(x**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    ),
    "Boxcar": lambda x, window=0.5: (np.abs(x) <= window).astype(float),
}
ESTIMATORS = {
    "StraightThrough": surrogate.straight_through_estimator,
    "Triangular": surrogate.triangular_estimator,
    "PiecewiseQuadratic": surrogate.piecewise_quadratic_estimator,
    "Arctan": surrogate.arctan_estimator,
    "SecantLIF": surrogate.secant_lif_estimator,
    "FastSigmoid": surrogate.fast_sigmoid_estimator,
    "Gaussian": surrogate.gaussian_estimator,
    "Boxcar": surrogate.boxcar_estimator,
}
OPTIONS = {
    "StraightThrough": {},
    "Triangular": {"alpha": 3.0},
    "PiecewiseQuadratic": {"beta": 2.0},
    "Arctan": {"alpha": 3.0},
    "SecantLIF": {"c1": 1.5, "c2": 0.2},
    "FastSigmoid": {"beta": 4.0},
    "Gaussian": {"sigma": 0.8},
    "Boxcar": {"window": 0.9},
}
every = pytest.mark.parametrize("name", FORMULAS)
V = np.linspace(-2.0, 3.0, 51)  # holds the thresholds 0 and 0.5, and the kinks of all but one
THR = 0.5


def test_the_list_is_complete():
    kinds = {
        k
        for k, v in vars(surrogate).items()
        if isinstance(v, type) and v.__module__ == surrogate.__name__
    }
    assert kinds == {*FORMULAS, "AbstractSurrogate"}
    builders = {k for k in vars(surrogate) if k.endswith("_estimator") and k[0] != "_"}
    assert builders == {build.__name__ for build in ESTIMATORS.values()}


@functools.cache
def outcome(name):
    """All three uses at once, by the defaults and by options; one compilation a kind."""
    options, kind = OPTIONS[name], getattr(surrogate, name)
    two, three = ESTIMATORS[name](), ESTIMATORS[name](get_surr_fx=True)
    assert len(two) == 2 and len(three) == 3

    def all_of(v):
        module = kind(**options)
        each = {}
        for label, given in (("default", {}), ("options", options)):
            for n, fn in (("spike", two[0]), ("d_spike", two[1]), ("surr", three[1])):
                each[f"{label} {n}"] = fn(v, THR, **given)
            each[f"{label} grad"] = jax.vmap(
                jax.grad(lambda v, given=given: two[0](v, THR, **given))
            )(v)
        each["positional"] = two[1](v, THR, *options.values())
        each["thr"] = jax.vmap(jax.grad(lambda t, v: two[0](v, t), 0), (None, 0))(THR, v)
        each["module"] = module(v, THR)
        each["module grad"] = jax.vmap(jax.grad(module), (0, None))(v, THR)
        each["by parameters"] = jax.vmap(lambda v: jax.grad(lambda m: m(v, THR))(module))(v)
        each["smooth"] = module.smooth(v - THR)
        h = 1e-6
        each["slope of smooth"] = (module.smooth(v - THR + h) - module.smooth(v - THR - h)) / (
            2 * h
        )
        leaves, tree = jax.tree.flatten(module)
        each["steps"] = [
            (
                tree.unflatten([*leaves[:i], a + h, *leaves[i + 1 :]]).smooth(v - THR)
                - tree.unflatten([*leaves[:i], a - h, *leaves[i + 1 :]]).smooth(v - THR)
            )
            / (2 * h)
            for i, a in enumerate(leaves)
        ]
        return each

    return jax.jit(all_of)(jnp.asarray(V))


@every
def test_formula_in_all_three_uses(name, x64):
    found = outcome(name)
    for label, options in (("default", {}), ("options", OPTIONS[name])):
        expected = FORMULAS[name](V - THR, **options)
        np.testing.assert_allclose(found[f"{label} d_spike"], expected, rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(found[f"{label} grad"], found[f"{label} d_spike"])
        np.testing.assert_array_equal(found[f"{label} spike"], V > THR)  # 0 at the threshold
    np.testing.assert_array_equal(found["positional"], found["options d_spike"])
    np.testing.assert_array_equal(found["thr"], -found["default grad"])
    np.testing.assert_array_equal(found["module"], V > THR)
    np.testing.assert_array_equal(found["module grad"], found["options d_spike"])


@every
def test_surr_fx_is_the_smooth_step_or_the_spike(name, x64):
    found = outcome(name)
    smooth = name not in ("StraightThrough", "Triangular")  # documented: there it is the spike
    expected = found["smooth"] if smooth else found["options spike"]
    np.testing.assert_array_equal(found["options surr"], expected)


@every
def test_smooth_is_an_integral_of_the_derivative(name, x64):
    found = outcome(name)
    expected = FORMULAS[name](V - THR, **OPTIONS[name])
    if name == "Arctan":  # as documented, the one is this factor of the other
        expected = expected * np.pi * OPTIONS[name]["alpha"] / 2
    ordinary = np.ones_like(V, bool)
    if name in ("Boxcar", "SecantLIF"):  # a jump of the derivative has two slopes
        jumps = {"Boxcar": [-0.9, 0.9], "SecantLIF": [0.0]}[name]
        ordinary = np.min(np.abs(V[:, None] - THR - np.array(jumps)), axis=1) > 1e-5
    np.testing.assert_allclose(
        found["slope of smooth"][ordinary], expected[ordinary], rtol=1e-4, atol=1e-5
    )


@every
def test_a_slope_is_learned_by_the_smooth_step(name, x64):
    found = outcome(name)
    gradients = jax.tree.leaves(found["by parameters"])
    assert len(gradients) == len(OPTIONS[name])
    for gradient, steps in zip(gradients, found["steps"], strict=True):
        kinks = np.abs(np.abs(V - THR) - 0.9) < 1e-5 if name == "Boxcar" else False
        np.testing.assert_allclose(np.where(kinks, steps, gradient), steps, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@every
def test_never_nan_at_the_extremes_and_keeps_the_dtype(name, dtype):
    edges = [0.0, 1e-40, 1e-8, 0.5, 1.0, 2.5, 1e4, 1e20, 1e30, 3e38, np.inf]
    x = jnp.asarray([*edges, *(-e for e in edges)]).astype(dtype)
    module = getattr(surrogate, name)()

    def all_of(x):
        by_parameters = jax.vmap(lambda x: jax.grad(lambda m: m(x))(module))(x)
        slopes = jax.vmap(jax.grad(module))(x)
        return module(x), module.derivative(x), slopes, module.smooth(x), by_parameters

    *own, by_parameters = jax.jit(all_of)(x)
    for values in own:
        assert values.dtype == dtype
    for values in (*own[:3], *jax.tree.leaves(by_parameters)):
        assert np.all(np.isfinite(np.asarray(values, np.float32)))
    assert not np.any(np.isnan(np.asarray(own[3], np.float32)))
    np.testing.assert_array_equal(own[1], own[2])
    np.testing.assert_array_equal(own[0], x > 0)


def test_the_fast_sigmoid_reaches_its_limits():
    found = surrogate.FastSigmoid(4.0).smooth(jnp.array([-jnp.inf, -3e38, 3e38, jnp.inf]))
    np.testing.assert_allclose(found, [-0.25, -0.25, 0.25, 0.25], rtol=1e-6)


def test_shapes_broadcast_and_integers_are_welcome():
    thr = jnp.array([0.0, 1.0, 2.0])
    np.testing.assert_array_equal(surrogate.Arctan()(jnp.ones((2, 3)), thr), [[1, 0, 0]] * 2)
    np.testing.assert_array_equal(surrogate.Boxcar()(np.array([0, 1, 2]), 1), [0, 0, 1])
    with pytest.raises(TypeError, match="gamma"):
        surrogate.arctan_estimator()[0](1.0, thr=0.5, gamma=2.0)


def test_gradients_flow_through_time_and_a_vmapped_slope():
    """A neuron driven just above threshold: more drive, more surrogate spikes."""
    module = surrogate.Gaussian()

    @jax.jit
    def both(w, sigmas):
        def count(w, kind):
            def step(v, _):
                v = 0.9 * v + w
                s = kind(v, 1.0)
                return v - s, s

            return jax.lax.scan(step, 0.0, length=10)[1].sum()

        slopes = jax.vmap(lambda sigma: jax.grad(count)(w, surrogate.Gaussian(sigma)))(sigmas)
        return eqx.filter_grad(lambda m: count(w, m))(module).sigma, slopes

    by_sigma, slopes = both(0.3, jnp.array([0.25, 0.5, 1.0]))
    assert np.all(slopes > 0) and len(set(np.asarray(slopes).tolist())) == 3
    assert np.isfinite(by_sigma) and by_sigma != 0


def test_a_new_surrogate_needs_two_methods():
    class Sine(AbstractSurrogate):
        def smooth(self, x):
            return jnp.sin(x)

        def derivative(self, x):
            return jnp.cos(x)

    assert float(jax.grad(Sine())(0.0)) == 1.0
    with pytest.raises(TypeError, match="abstract"):
        AbstractSurrogate()
