"""What patterns are for: a two-layer gated ReLU network, trained to the global optimum."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from .._core import is_traced, of_shape, public, undivided
from ._activation import activation_patterns, as_data_and_gates, finite
from ._packed import is_active

_CHECK_EVERY = 20  # steps between two duality gaps
_POWER_STEPS = 100


class GatedReLU(eqx.Module):
    r"""The convex form of a gated ReLU network: one linear model for each gate.

    $$f(x) = \sum_j 1(x^\top g_j \geq 0)\, V_j^\top x$$

    **Fields:**

    - `gates`: fixed, one a column.
    - `weights`: $V$, of shape `(d, m, c)` for `c` outputs.
    - `strict`: gates open where $x^\top g_j > 0$.
    """

    gates: Float[Array, "d m"]
    weights: Float[Array, "d m c"]
    strict: bool = eqx.field(static=True, default=False)

    @public
    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " c"]:
        """The prediction for one example."""
        x = of_shape("x", x, self.gates.shape[:1])
        is_open = is_active(x @ self.gates, self.strict)
        return jnp.einsum("d,m,dmc->c", x, is_open.astype(x.dtype), self.weights)

    def network(self) -> "GatedReLUNetwork":
        r"""The network of two layers with the same predictions, its penalty split over the layers.

        Each group $v = V_{\cdot j k} \neq 0$ becomes a neuron with weights $v / \sqrt{\|v\|}$, gate
        $g_j$, and output weight $\sqrt{\|v\|}$ to output `k`: then
        $\frac{1}{2} (\|w\|^2 + \alpha^2) = \|v\|$, so a group penalty is weight decay of the network.

        **Raises:** `TypeError` under `jit`, where the number of neurons is unknown.
        """
        if is_traced(self.weights):
            raise TypeError("`network()` has as many neurons as groups are not 0: call it eagerly.")
        norms = jnp.linalg.norm(self.weights, axis=0)
        gate, output = np.nonzero(np.asarray(norms))
        size = jnp.sqrt(norms[gate, output])
        readout = jnp.zeros((norms.shape[1], len(gate)), size.dtype)
        return GatedReLUNetwork(
            _linear(self.gates[:, gate].T),
            _linear((self.weights[:, gate, output] / size).T),
            _linear(readout.at[output, jnp.arange(len(gate))].set(size)),
            self.strict,
        )


class GatedReLUNetwork(eqx.Module):
    r"""$f(x) = A \left( 1(G x \geq 0) \odot W x \right)$, three `equinox.nn.Linear` without bias."""

    gate: eqx.nn.Linear
    hidden: eqx.nn.Linear
    readout: eqx.nn.Linear
    strict: bool = eqx.field(static=True)

    @public
    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " c"]:
        """The prediction for one example."""
        x = of_shape("x", x, self.gate.weight.shape[1:])
        gate = self.gate(x)
        is_open = is_active(gate, self.strict) | jnp.isnan(gate)  # which hides nothing
        return self.readout(jnp.where(is_open, self.hidden(x), 0))


class GatedReLUFit(eqx.Module):
    """How a fit ended.

    **Fields:**

    - `objective`: loss plus penalty at the answer.
    - `gap`: at most this much above the optimum (the duality gap, up to rounding).
    - `steps`: steps taken.
    - `converged`: whether `gap <= tol * objective`.
    """

    objective: Float[Array, ""]
    gap: Float[Array, ""]
    steps: Int[Array, ""]
    converged: Bool[Array, ""]


@public
def gated_relu_masks(
    X: Real[ArrayLike, "n d"], G: Real[ArrayLike, "gate_dim m"], *, strict: bool = False
) -> Float[Array, "n m"]:
    r"""The gates of a gated ReLU network on data, $1(X G \geq 0)$ as 0.0 and 1.0.

    `activation_patterns`, unpacked; its docstring says the rest.

    >>> import jax.numpy as jnp
    >>> gated_relu_masks(jnp.array([[1.0], [-1.0]]), jnp.array([[2.0, -1.0]]))
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    X, G = as_data_and_gates(X, G)
    return activation_patterns(X, G, strict=strict).unpack(X.dtype)


@public
def fit_gated_relu(
    X: Real[ArrayLike, "n d"],
    y: Real[ArrayLike, "targets *c"],
    G: Real[ArrayLike, "gate_dim m"],
    *,
    penalty: float | Float[ArrayLike, ""],
    tol: float = 1e-3,
    max_steps: int = 10_000,
    strict: bool = False,
    progress: Callable[[int, float, float], None] | None = None,
) -> tuple[GatedReLU, GatedReLUFit]:
    r"""Train a gated ReLU network with squared loss and weight decay to the global optimum.

    $$\min_V\; \frac{1}{2n} \Big\| \sum_j D_j X V_j - y \Big\|_F^2
    + \lambda \sum_{j, k} \| V_{\cdot j k} \|_2, \qquad D_j = \mathrm{diag}\, 1(X g_j \geq 0)$$

    This group lasso over patterns is the exact convex form of training
    $\sum_i \alpha_i 1(g_i^\top x \geq 0)\, w_i^\top x$ with weight decay $\lambda$ on all $w$ and
    $\alpha$, for fixed gates. Give distinct patterns (`compute_activation_patterns`): a gate that
    repeats a pattern changes nothing but the cost.

    **Arguments:**

    - `X`, `y`: examples and targets, `(n, d)` and `(n, c)` or `(n,)`. Append a column of ones to `X`
        for a bias.
    - `G`: gates `(d, m)`.
    - `penalty`: $\lambda > 0$. From the largest $\|X^\top D_j y_k\| / n$ on, the answer is 0.
    - `tol`: stop when the duality gap is below `tol` times the objective. In float32 about 1e-4 can
        be reached.
    - `max_steps`: give up after so many steps; `converged` then says so.
    - `progress`: called as `progress(step, objective, gap)` every 20 steps.

    **Returns:** the `GatedReLU` model, with `c = 1` if `y` is a vector, and a `GatedReLUFit`.

    **Method:** accelerated proximal gradient with restarts (FISTA), one compiled loop.

    **Raises:** `ValueError` for shapes that do not fit, a `penalty` or `tol` not above 0, and NaN or
    infinity in the data.

    **Cost:** $O(ndmc)$ a step, memory $O(nmc)$.

    **Source:** Mishkin, Sahiner and Pilanci (2022), *Fast convex optimization for two-layer ReLU
    networks*, ICML, https://arxiv.org/abs/2202.01331; restarts of O'Donoghue and Candès (2015).

    >>> import jax, jax.numpy as jnp
    >>> from jaxinfo.patterns import sample_dense_gates
    >>> keys = jax.random.split(jax.random.key(0))
    >>> X = jax.random.normal(keys[0], (50, 2))
    >>> model, fit = fit_gated_relu(X, jnp.abs(X[:, 0]), sample_dense_gates(keys[1], 2, 20),
    ...     penalty=1e-3)
    >>> bool(fit.converged), bool(fit.objective < 0.01)
    (True, True)
    """
    X, G = as_data_and_gates(X, G)
    (y,) = finite(y=jnp.asarray(y).astype(X.dtype))
    if X.shape[1] != G.shape[0] or y.ndim not in (1, 2) or len(y) != len(X) or len(X) == 0:
        raise ValueError(
            "`X` (n, d), `y` (n,) or (n, c) and `G` (d, m) must fit, with n at least 1; got shapes "
            f"{X.shape}, {y.shape} and {G.shape}."
        )
    positive = is_traced(penalty) or bool(jnp.asarray(penalty) > 0)
    if not (positive and tol > 0):
        raise ValueError(f"`penalty` and `tol` must be above 0; got {penalty} and {tol}.")
    masks = gated_relu_masks(X, G, strict=strict)
    target = y[:, None] if y.ndim == 1 else y
    penalty = jnp.asarray(penalty, X.dtype)
    weights, fit = undivided(_fista, X, target, masks, penalty, tol, max_steps, progress)
    return GatedReLU(G, weights, strict), fit


def _predict(X: Array, masks: Array, weights: Float[Array, "d m c"]) -> Float[Array, "n c"]:
    # One matrix product for all gates; as an einsum the masks would become small products.
    linear = X @ weights.reshape(X.shape[1], -1)
    return jnp.sum(linear.reshape(*masks.shape, -1) * masks[:, :, None], axis=1)


def _correlate(X: Array, masks: Array, residual: Float[Array, "n c"]) -> Float[Array, "d m c"]:
    """The transpose of `_predict`."""
    masked = masks[:, :, None] * residual[:, None, :]
    return (X.T @ masked.reshape(len(X), -1)).reshape(-1, *masked.shape[1:])


def _group_norms(weights: Float[Array, "d m c"]) -> Float[Array, "m c"]:
    return jnp.sqrt(jnp.sum(weights**2, axis=0))


def _smoothness(X: Array, masks: Array) -> Float[Array, ""]:
    """The largest eigenvalue of the loss's Hessian, from the power method, a little above."""
    n = X.shape[0]

    def step(_: Array, v: Array) -> Array:
        v = _correlate(X, masks, _predict(X, masks, v))
        return v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)

    start = _correlate(X, masks, jr.normal(jr.key(0), (n, 1), X.dtype))
    v = jax.lax.fori_loop(0, _POWER_STEPS, step, start)
    norm = jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)
    return 1.02 * jnp.sum(_predict(X, masks, v / norm) ** 2) / n


class _State(eqx.Module):
    weights: Float[Array, "d m c"]
    ahead: Float[Array, "d m c"]
    """Where the next gradient is taken."""
    momentum: Float[Array, ""]
    step: Int[Array, ""]
    objective: Float[Array, ""]
    gap: Float[Array, ""]


@functools.partial(jax.jit, static_argnames=("max_steps", "progress"))
def _fista(
    X: Float[Array, "n d"],
    y: Float[Array, "n c"],
    masks: Float[Array, "n m"],
    penalty: Float[Array, ""],
    tol: float | Float[Array, ""],
    max_steps: int,
    progress: Callable[[int, float, float], None] | None,
) -> tuple[Float[Array, "d m c"], GatedReLUFit]:
    n = X.shape[0]
    smoothness = jnp.maximum(_smoothness(X, masks), jnp.finfo(X.dtype).tiny)

    def shrink(weights: Array) -> Array:
        norms = _group_norms(weights)
        keep = jnp.maximum(norms - penalty / smoothness, 0) / jnp.where(norms > 0, norms, 1)
        return weights * keep

    def advance(_: Array, state: _State) -> _State:
        gradient = _correlate(X, masks, _predict(X, masks, state.ahead) - y) / n
        weights = shrink(state.ahead - gradient / smoothness)
        moved = weights - state.weights
        # The momentum points uphill: start it again.
        restart = jnp.sum((state.ahead - weights) * moved) > 0
        before = jnp.where(restart, 1.0, state.momentum)
        momentum = (1 + jnp.sqrt(1 + 4 * before**2)) / 2
        ahead = weights + jnp.where(restart, 0.0, (before - 1) / momentum) * moved
        return eqx.tree_at(
            lambda s: (s.weights, s.ahead, s.momentum), state, (weights, ahead, momentum)
        )

    def assess(state: _State) -> _State:
        residual = y - _predict(X, masks, state.weights)
        loss = jnp.sum(residual**2) / (2 * n)
        objective = loss + penalty * jnp.sum(_group_norms(state.weights))
        # The residual, scaled until it is feasible, is a point of the dual problem.
        largest = jnp.max(_group_norms(_correlate(X, masks, residual / n)), initial=0)
        scale = jnp.minimum(1.0, penalty / jnp.where(largest > 0, largest, penalty))
        dual = jnp.sum(y * residual) * scale / n - scale**2 * loss
        gap = objective - dual
        if progress is not None:
            jax.debug.callback(progress, state.step, objective, gap)
        return eqx.tree_at(lambda s: (s.objective, s.gap), state, (objective, gap))

    def unfinished(state: _State) -> Array:
        return (state.gap > tol * state.objective) & (state.step < max_steps)

    def block(state: _State) -> _State:
        state = jax.lax.fori_loop(0, _CHECK_EVERY, advance, state)
        return assess(eqx.tree_at(lambda s: s.step, state, state.step + _CHECK_EVERY))

    # The barrier: XLA for CPU (JAX 0.10) miscompiles a product with a constant of zeros when it is
    # fused with what follows, and gives infinities.
    shape = X.shape[1], masks.shape[1], y.shape[1]
    zeros = jax.lax.optimization_barrier(jnp.zeros(shape, X.dtype))
    one, nothing = jnp.ones((), X.dtype), jnp.zeros((), X.dtype)
    start = assess(_State(zeros, zeros, one, jnp.int32(0), nothing, nothing))
    end = jax.lax.while_loop(unfinished, block, start)
    converged = end.gap <= tol * end.objective
    return end.weights, GatedReLUFit(end.objective, end.gap, end.step, converged)


def _linear(weight: Float[Array, "out_features in_features"]) -> eqx.nn.Linear:
    out_features, in_features = weight.shape
    layer = eqx.nn.Linear(in_features, out_features, use_bias=False, key=jr.key(0))
    return eqx.tree_at(lambda layer: layer.weight, layer, weight)
