"""Maps with prescribed row or column sums."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .._core import public, safe_divide
from ._base import AbstractLinearMap, AbstractSquareMap, AbstractWeightMap
from ._numerics import (
    at_least_single,
    between,
    largest,
    logarithm,
    onto_simplex,
    outside,
    uniform,
    unsqueezed,
)
from ._options import Number, ordered_bounds
from ._signed import without_inner_biases


@public
class RightStochasticLinear(AbstractWeightMap):
    r"""A non-negative matrix whose rows sum to 1: $W_{ij} = e^{A_{ij}} / \sum_k e^{A_{ik}}$.

    **Source:** neuromancer.slim; https://en.wikipedia.org/wiki/Stochastic_matrix
    """

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return jax.nn.softmax(self.weight, axis=1)

    @property
    def equation(self) -> str:
        return "W = softmax of each row of A, so W >= 0 and W 1 = 1"

    def violation(self) -> Float[Array, ""]:
        return _stochastic_violation(self.effective_W(), 1.0, 1.0)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"weight": logarithm(onto_simplex(W))}


@public
class LeftStochasticLinear(AbstractWeightMap):
    r"""A non-negative matrix whose columns sum to 1: $W_{ij} = e^{A_{ij}} / \sum_k e^{A_{kj}}$.

    **Source:** neuromancer.slim; https://en.wikipedia.org/wiki/Stochastic_matrix
    """

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return jax.nn.softmax(self.weight, axis=0)

    @property
    def equation(self) -> str:
        return "W = softmax of each column of A, so W >= 0 and 1^T W = 1^T"

    def violation(self) -> Float[Array, ""]:
        return _stochastic_violation(self.effective_W().T, 1.0, 1.0)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"weight": logarithm(onto_simplex(W.T).T)}


@public
class DoublyStochasticLinear(AbstractSquareMap):
    r"""A non-negative square matrix whose rows and columns all sum to 1, by Sinkhorn's iteration.

    $W = D_1 e^A D_2$ with the diagonal scalings that make it so, found by normalising rows and columns
    in turn. What a finite number of rounds leaves is taken away by scaling down the rows and columns
    that are too heavy and adding a non-negative matrix of rank one, so that the promise holds also
    where the iteration has not converged. Where it has, the correction is nil.

    `from_matrix` gives the nearest member in relative entropy, for a positive matrix.

    **Arguments:** `iterations`: rounds of normalisation. The gradient goes through all of them.

    **Reference:** Sinkhorn and Knopp (1967), *Concerning nonnegative matrices and doubly stochastic
    matrices*; Altschuler, Weed and Rigollet (2017), *Near-linear time approximation algorithms for
    optimal transport via Sinkhorn iteration*, for the correction.
    """

    weight: Float[Array, "in_features out_features"]
    iterations: int = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        iterations: int = 50,
    ):
        if iterations < 1:
            raise ValueError(f"`iterations` must be at least 1; got {iterations}.")
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.weight = uniform(key, (in_features, out_features), in_features)
        self.iterations = int(iterations)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return sinkhorn(self.weight, iterations=self.iterations)

    @property
    def equation(self) -> str:
        return "W = D1 exp(A) D2, so W >= 0, W 1 = 1 and 1^T W = 1^T"

    def violation(self) -> Float[Array, ""]:
        W = self.effective_W()
        return jnp.maximum(_stochastic_violation(W, 1.0, 1.0), _stochastic_violation(W.T, 1.0, 1.0))

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"weight": logarithm(W)}


@public
class PerronFrobeniusLinear(AbstractLinearMap):
    r"""A non-negative matrix whose row sums lie in `[sigma_min, sigma_max]`.

    $W_{ij} = s_{ij} P_{ij}$ with $P$ the softmax of each row of `weight` and $s_{ij}$ the entries of
    `scaling` squeezed into the bounds. By the theorem of Perron and Frobenius the spectral radius of
    a square one lies within the same bounds.

    `from_matrix` projects each row onto the non-negative rows with an admissible sum.

    **Arguments:** `sigma_min`, `sigma_max`: bounds of the row sums and of the dominant eigenvalue.

    **Source:** Tuor, Drgona and Vrabie (2020), *Constrained neural ordinary differential equations
    with stability guarantees*, arXiv:2004.10883; neuromancer.slim.
    """

    weight: Float[Array, "in_features out_features"]
    scaling: Float[Array, "in_features out_features"]
    sigma_min: float = eqx.field(static=True)
    sigma_max: float = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        sigma_min: Number = 0.8,
        sigma_max: Number = 1.0,
    ):
        bias_key, key, scaling_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.sigma_min, self.sigma_max = ordered_bounds(sigma_min, sigma_max, least=0)
        self.weight = uniform(key, (in_features, out_features), in_features)
        self.scaling = jr.uniform(scaling_key, (in_features, out_features))

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return perron_frobenius(self.weight, self.scaling, self.sigma_min, self.sigma_max)

    @property
    def equation(self) -> str:
        return f"W = s * softmax of each row of A, {self.sigma_min:g} <= W 1 <= {self.sigma_max:g}"

    def violation(self) -> Float[Array, ""]:
        return _stochastic_violation(self.effective_W(), self.sigma_min, self.sigma_max)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        positive = jax.nn.relu(W)
        sums = jnp.sum(positive, axis=1, keepdims=True)
        total = jnp.clip(sums, self.sigma_min, self.sigma_max)
        rows = jnp.where(sums == total, positive, onto_simplex(W, total))
        scaling = unsqueezed(total, self.sigma_min, self.sigma_max)
        return {"weight": logarithm(rows), "scaling": jnp.broadcast_to(scaling, W.shape)}


@public
class StableSplitLinear(AbstractLinearMap):
    r"""$W = B - C$ with $B$ and $C$ non-negative, of bounded row sums.

    The rows of $B$ sum to `sigma_max`, those of $C$ to something in `[0, sigma_max - sigma_min]`; so
    the rows of $W$ sum to something in `[sigma_min, sigma_max]`. That is the promise. It bounds the
    spectral radius of $B$ and of $C$, but that of their difference only by
    $2 \sigma_{max} - \sigma_{min}$: $W$ itself need not be stable.

    The members are the matrices with such row sums whose positive parts have row sums of at most
    `sigma_max`; `from_matrix` projects onto them, row by row.

    **Arguments:** `sigma_min`, `sigma_max`: bounds of the row sums.

    **Source:** neuromancer.slim.
    """

    B: PerronFrobeniusLinear
    C: PerronFrobeniusLinear
    sigma_min: float = eqx.field(static=True)
    sigma_max: float = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        sigma_min: Number = 0.1,
        sigma_max: Number = 1.0,
    ):
        bias_key, b_key, c_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.sigma_min, self.sigma_max = low, high = ordered_bounds(sigma_min, sigma_max)
        self.B = PerronFrobeniusLinear(
            in_features, out_features, key=b_key, sigma_min=high, sigma_max=high
        )
        self.C = PerronFrobeniusLinear(
            in_features, out_features, key=c_key, sigma_min=0.0, sigma_max=high - low
        )

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self.B.effective_W() - self.C.effective_W()

    @property
    def equation(self) -> str:
        return f"W = B - C, B >= 0, C >= 0, {self.sigma_min:g} <= W 1 <= {self.sigma_max:g}"

    def violation(self) -> Float[Array, ""]:
        sums = jnp.sum(at_least_single(self.effective_W()), axis=1)
        of_sums = outside(sums, self.sigma_min, self.sigma_max)
        return jnp.maximum(of_sums, jnp.maximum(self.B.violation(), self.C.violation()))

    def _translate(self, params: dict[str, Array]) -> dict[str, Array]:
        return without_inner_biases(params)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        rows = _onto_split(W, self.sigma_min, self.sigma_max)
        B, C = jax.nn.relu(rows), jax.nn.relu(-rows)
        # What B lacks of its sum is added to both halves.
        lacking = jax.nn.relu(self.sigma_max - jnp.sum(B, axis=1, keepdims=True)) / W.shape[1]
        B, C = B + lacking, C + lacking
        total = jnp.sum(C, axis=1, keepdims=True)
        free = unsqueezed(total, 0.0, self.sigma_max - self.sigma_min)
        return {
            "B.weight": logarithm(B),
            "B.scaling": jnp.zeros_like(W),
            "C.weight": logarithm(C),
            "C.scaling": jnp.broadcast_to(free, W.shape),
        }


def perron_frobenius(
    weight: Float[Array, "n m"], scaling: Float[Array, "n m"], sigma_min: float, sigma_max: float
) -> Float[Array, "n m"]:
    """A non-negative matrix with row sums between the bounds: see `PerronFrobeniusLinear`."""
    return between(scaling, sigma_min, sigma_max) * jax.nn.softmax(weight, axis=1)


def sinkhorn(scores: Float[Array, "n n"], *, iterations: int = 50) -> Float[Array, "n n"]:
    """A doubly stochastic matrix near `D1 exp(scores) D2`: see `DoublyStochasticLinear`."""
    logs = at_least_single(scores)

    def normalise(logs, _):
        logs = logs - jax.nn.logsumexp(logs, axis=0, keepdims=True)
        return logs - jax.nn.logsumexp(logs, axis=1, keepdims=True), None

    logs, _ = jax.lax.scan(normalise, logs, length=iterations)
    W = jnp.exp(logs)
    W = W / jnp.maximum(jnp.sum(W, axis=1, keepdims=True), 1)
    W = W / jnp.maximum(jnp.sum(W, axis=0, keepdims=True), 1)
    row_gaps = jax.nn.relu(1 - jnp.sum(W, axis=1))
    column_gaps = jax.nn.relu(1 - jnp.sum(W, axis=0))
    # The two sets of gaps have the same sum; dividing by one fills the other exactly.
    W = W + row_gaps[:, None] * safe_divide(column_gaps, jnp.sum(column_gaps))
    return W.astype(scores.dtype)


def _onto_split(W: Float[Array, "n m"], sigma_min: float, sigma_max: float) -> Float[Array, "n m"]:
    """Each row's projection onto the rows that sum to `sigma_min` at least, their positive part to
    `sigma_max` at most.

    Lagrange's conditions: shift the row up by some number, then project its positive part. The sum
    grows with the shift, so the least shift that will do is found by bisection.
    """

    def shifted(by):
        rows = W + by
        positive = jax.nn.relu(rows)
        heavy = jnp.sum(positive, axis=1, keepdims=True) > sigma_max
        positive = jnp.where(heavy, onto_simplex(rows, sigma_max), positive)
        return positive - jax.nn.relu(-rows)

    def halve(bracket, _):
        low, high = bracket
        middle = (low + high) / 2
        enough = jnp.sum(shifted(middle), axis=1, keepdims=True) >= sigma_min
        return (jnp.where(enough, low, middle), jnp.where(enough, middle, high)), None

    zero = jnp.zeros((W.shape[0], 1), W.dtype)
    # Shifted so far, no entry is below 0 and the sum is as large as it gets.
    most = jax.nn.relu(-jnp.min(W, axis=1, keepdims=True)) + sigma_max
    (_, least), _ = jax.lax.scan(halve, (zero, most), length=jnp.finfo(W.dtype).nmant + 10)
    as_it_is = jnp.sum(shifted(zero), axis=1, keepdims=True) >= sigma_min
    return shifted(jnp.where(as_it_is, zero, least))


def _stochastic_violation(W: Float[Array, "n m"], lower: float, upper: float) -> Float[Array, ""]:
    W = at_least_single(W)
    return jnp.maximum(largest(jnp.minimum(W, 0)), outside(jnp.sum(W, axis=1), lower, upper))
