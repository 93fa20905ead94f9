"""The convex gated ReLU program: optimality, a closed form, and the network it maps to."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxinfo.data import digits
from jaxinfo.patterns import (
    compute_activation_patterns,
    fit_gated_relu,
    gated_relu_masks,
    sample_dense_gates,
)


def problem(n=60, d=3, c=2, seed=0):
    keys = jr.split(jr.key(seed), 3)
    X, y = jr.normal(keys[0], (n, d)), jr.normal(keys[1], (n, c))
    _, G = compute_activation_patterns(X, sample_dense_gates(keys[2], d, 8))
    return X, y, G


def objective(X, y, G, weights, penalty):
    """The definition, in float64 NumPy."""
    X, y, G, V = (np.asarray(a, np.float64) for a in (X, y, G, weights))
    prediction = sum(((X @ g >= 0)[:, None] * (X @ V[:, j])) for j, g in enumerate(G.T))
    groups = np.sqrt((V**2).sum(axis=0)).sum()
    return ((prediction - y) ** 2).sum() / (2 * len(X)) + penalty * groups


@pytest.mark.parametrize("penalty", [1e-3, 0.03])
def test_optimality(penalty):
    X, y, G = problem()
    model, fit = fit_gated_relu(X, y, G, penalty=penalty, tol=1e-4)
    assert bool(fit.converged)
    best = objective(X, y, G, model.weights, penalty)
    np.testing.assert_allclose(fit.objective, best, rtol=1e-5)
    # The subgradient: X' D_j r / n is the penalty times the direction of each group, or shorter.
    M = np.asarray(X @ G >= 0, np.float64)
    residual = np.asarray(y - jax.vmap(model)(X), np.float64)
    pull = np.einsum("nd,nm,nc->dmc", X, M, residual) / len(X)
    lengths, V = np.sqrt((pull**2).sum(axis=0)), np.asarray(model.weights)
    assert lengths.max() <= penalty * 1.03
    norms = np.sqrt((V**2).sum(axis=0))
    large = norms > 0.05 * norms.max()
    np.testing.assert_allclose(
        pull[:, large], penalty * V[:, large] / norms[large], atol=0.1 * penalty
    )
    # No random step does better.
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-2, 0.1):
        other = V + size * rng.normal(size=V.shape)
        assert objective(X, y, G, other, penalty) > best * (1 - 1e-4)


def test_one_gate_that_is_always_open_is_shrunk_regression():
    """Orthonormal data and one open gate: the group is shrunk towards 0, in closed form."""
    n = 8
    X = jnp.eye(n)[:, :2] * jnp.sqrt(float(n)) + jnp.zeros((n, 2))
    y = 3.0 * X[:, 0] + 4.0 * X[:, 1]
    model, _ = fit_gated_relu(X, y, jnp.ones((2, 1)), penalty=1.0, tol=1e-5)
    np.testing.assert_allclose(model.weights[:, 0, 0], [3 * 0.8, 4 * 0.8], rtol=1e-3)


def test_a_large_penalty_leaves_nothing():
    X, y, G = problem()
    M = np.asarray(X @ G >= 0, np.float64)
    pull = np.einsum("nd,nm,nc->dmc", X, M, y) / len(X)
    largest = np.sqrt((pull**2).sum(axis=0)).max()
    model, fit = fit_gated_relu(X, y, G, penalty=1.001 * largest)
    assert int(fit.steps) == 0 and not model.weights.any()
    assert fit_gated_relu(X, y, G, penalty=0.9 * largest)[0].weights.any()
    assert model.network()(X[0]).shape == (2,)  # a network of no neurons


def test_network_predicts_the_same_on_real_data():
    images, labels = digits()
    X = images.reshape(len(images), -1)[:100]
    X = jnp.concatenate([X, jnp.ones((len(X), 1))], axis=1)
    y = jax.nn.one_hot(labels[:100], 10)
    _, G = compute_activation_patterns(X, sample_dense_gates(jr.key(0), 65, 5))
    model, _ = fit_gated_relu(X, y, G, penalty=0.02, tol=0.2)
    network = model.network()
    np.testing.assert_allclose(jax.vmap(network)(X), jax.vmap(model)(X), atol=1e-5)
    # The penalty is the network's weight decay, and groups of zeros have become no neurons.
    decay = (jnp.sum(network.hidden.weight**2) + jnp.sum(network.readout.weight**2)) / 2
    norms = jnp.sqrt(jnp.sum(model.weights**2, axis=0))
    np.testing.assert_allclose(decay, jnp.sum(norms), rtol=1e-4)
    assert network.hidden.weight.shape == (int(jnp.sum(norms > 0)), 65)
    assert jnp.mean(jnp.argmax(jax.vmap(network)(X), axis=1) == labels[:100]) > 0.9


def test_a_vector_of_targets_and_progress():
    X, y, G = problem(c=1)
    seen = []
    model, fit = fit_gated_relu(X, y[:, 0], G, penalty=0.01, progress=lambda *now: seen.append(now))
    jax.effects_barrier()
    assert model.weights.shape[2] == 1 and model(X[0]).shape == (1,)
    assert int(seen[-1][0]) == int(fit.steps)


def test_giving_up_is_told():
    X, y, G = problem()
    _, fit = fit_gated_relu(X, y, G, penalty=1e-4, tol=1e-9, max_steps=20)
    assert not bool(fit.converged) and int(fit.steps) == 20


def test_transforms():
    X, y, G = problem()
    penalties = jnp.array([0.01, 0.1])

    def solve(penalty):
        return fit_gated_relu(X, y, G, penalty=penalty)[0].weights

    together = jax.jit(jax.vmap(solve))(penalties)
    for one, penalty in zip(together, penalties, strict=True):
        np.testing.assert_allclose(one, solve(penalty), atol=2e-2)


def test_masks():
    X, _, G = problem()
    np.testing.assert_array_equal(gated_relu_masks(X, G), X @ G >= 0)
    zero = jnp.zeros((3, 1))
    assert gated_relu_masks(X, zero).all() and not gated_relu_masks(X, zero, strict=True).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"penalty": 0.0}, "above 0"),
        ({"penalty": 0.1, "tol": 0.0}, "above 0"),
        ({"penalty": 0.1, "y": jnp.ones((5, 2))}, "must fit"),
        ({"penalty": 0.1, "y": jnp.full((60, 2), jnp.nan)}, "`y` must be finite"),
    ],
)
def test_bad_input(change, message):
    X, y, G = problem()
    with pytest.raises(ValueError, match=message):
        fit_gated_relu(X, change.pop("y", y), G, **change)
