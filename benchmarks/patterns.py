"""Activation patterns, sampled and enumerated, and the gated ReLU program."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.data import digits
from jaxinfo.patterns import (
    activation_patterns,
    compute_activation_patterns,
    enumerate_patterns,
    fit_gated_relu,
    num_patterns,
    sample_dense_gates,
    unique_patterns,
)

from ._harness import Case, best_time, row
from ._peers import scnn_optimize


def _gaussian(quick: bool) -> tuple[np.ndarray, np.ndarray]:
    n, d, m = (1000, 100, 1000) if quick else (5000, 100, 5000)
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d), np.float32), rng.standard_normal((d, m), np.float32)


def _product_time(X: jax.Array, G: jax.Array) -> float:
    """Seconds of the bare float32 product."""
    product = jax.jit(lambda X, G: X @ G)
    return best_time(lambda: product(X, G))


def _patterns(quick: bool, dtype: Any) -> Case:
    from scnn.activations import compute_activation_patterns as peer_patterns

    X, G = _gaussian(quick)
    on_device = jnp.asarray(X), jnp.asarray(G)

    def ours() -> Any:
        if dtype is None:
            return unique_patterns(activation_patterns(*on_device))
        return compute_activation_patterns(*on_device, dtype=dtype)

    def check(found: Any, expected: Any) -> None:
        D = np.asarray(found[0].unpack(bool) if dtype is None else found[0]).astype(bool)
        # The peer sorts its columns; compare how often each example is active.
        assert D.shape == expected[0].shape, (D.shape, expected[0].shape)
        differing = np.abs(D.sum(axis=1) - expected[0].sum(axis=1)).sum()
        assert differing <= 1e-5 * D.size, differing  # products within rounding of 0

    return Case(ours, lambda: peer_patterns(X, G), check, _product_time(*on_device), "the product")


for kind, dtype in (("packed", None), ("bool matrix", bool), ("float matrix", jnp.float32)):
    row(f"patterns distinct, {kind}", peer="pyscnn")(
        lambda quick, dtype=dtype: _patterns(quick, dtype)
    )


@row("patterns of a million examples, 10 000 gates", peer="-")
def _million(quick: bool) -> Case:
    n, d, m = (50_000 if quick else 1_000_000), 20, 10_000
    rng = np.random.default_rng(0)
    X, G = (jnp.asarray(rng.standard_normal(s, np.float32)) for s in ((n, d), (d, m)))

    def check(found: Any, _: Any) -> None:
        examples, gates = rng.integers(0, n, 1000), rng.integers(0, m, 10)
        product = np.asarray(X, np.float64)[examples] @ np.asarray(G, np.float64)[:, gates]
        sure = np.abs(product) > 1e-5
        bits = np.asarray(found[gates].unpack(bool))[examples]
        assert np.array_equal(bits[sure], (product >= 0)[sure])

    return Case(lambda: activation_patterns(X, G), None, check)


@row("patterns enumerated, rank 4", peer="-")
def _enumerated(quick: bool) -> Case:
    n = 40 if quick else 100
    X = np.random.default_rng(0).standard_normal((n, 4))
    X[:, 0] = np.abs(X[:, 0])

    def check(found: Any, _: Any) -> None:
        assert found.p == num_patterns(n, 4), found.p

    return Case(lambda: enumerate_patterns(X), None, check)


@row("patterns gated relu, digits", peer="pyscnn")
def _gated(quick: bool) -> Case:
    optimize = scnn_optimize()
    from scnn.metrics import Metrics
    from scnn.models import ConvexGatedReLU
    from scnn.regularizers import NeuronGL1
    from scnn.solvers import RFISTA

    images, labels = digits()
    n, penalty = (200 if quick else 500), 0.01
    X = np.asarray(images).reshape(len(images), -1)[:n]
    y = (np.asarray(labels)[:n] == 0).astype(np.float32)[:, None]
    _, G = compute_activation_patterns(X, sample_dense_gates(jax.random.key(0), 64, 30))

    def peer() -> Any:
        model = ConvexGatedReLU(np.asarray(G, np.float64), c=1)
        # At its default of 1e-6 it stops 1.8e-3 above the optimum of all images.
        arguments = (model, RFISTA(model, tol=1e-7), Metrics(), X, y)
        _, metrics = optimize.optimize_model(
            *arguments, regularizer=NeuronGL1(penalty), return_convex=True, unitize_data=False
        )
        return metrics.objective[-1]

    def check(found: Any, expected: Any) -> None:
        # The gap certifies ours; the peer's may be above it by what its own tolerance leaves.
        assert found[1].converged and abs(found[1].objective / expected - 1) < 1e-3, expected

    return Case(lambda: fit_gated_relu(X, y, G, penalty=penalty), peer, check)
