"""Eigenvalues in an interval or disc, by Gershgorin's theorem."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Inexact, PRNGKeyArray

from .._core import public
from ._base import AbstractSquareMap
from ._numerics import at_least_single, logarithm, onto_simplex, outside, unsqueezed
from ._options import Number, ordered_bounds
from ._symmetric import spectrum_outside, symmetric_part


@public
class GershgorinLinear(AbstractSquareMap):
    r"""Every eigenvalue within the disc whose diameter is `[sigma_min, sigma_max]`.

    With $c$ the middle of the bounds and $r$ half their distance,

    $$W_{ii} = c + r\,(\mathrm{sigmoid}(d_i) - \tfrac12), \qquad
      W_{ij} = \tfrac r2 \frac{e^{A_{ij}}}{\sum_{k \ne i} e^{A_{ik}}} \quad (j \ne i)$$

    so each diagonal entry stays within $r/2$ of $c$ and the rest of its row sums to $r/2$: by
    Gershgorin's theorem, no eigenvalue is farther than $r$ from $c$.

    With `real`, $A = w + w^T$. The matrix of row softmaxes is then similar to a symmetric one, by a
    diagonal similarity: its eigenvalues are real, hence in `[sigma_min, sigma_max]`. With `symmetric`
    the map is that symmetric matrix itself, $W_{ij} = \frac r2 e^{A_{ij}} / \sqrt{Z_i Z_j}$ with $Z_i$ the
    denominators above, of the very same spectrum.

    **Arguments:**

    - `sigma_min`, `sigma_max`: bounds of the eigenvalues.
    - `real`: make all eigenvalues real.
    - `symmetric`: which of the two similar matrices, if `real`. By default the symmetric one; from
        `from_parameters`, by default the row softmax, which is the documented formula.

    `from_matrix` clips the diagonal. Off it, without `real` each row is projected, which gives the nearest
    member. With `real`, it gives back a member; for another matrix, of which the nearest member is not
    known, it takes the non-negative symmetric part scaled to the right spectrum, or with
    `symmetric=False` the mean of the projected rows, as a Markov chain, and the same chain run backwards.

    **Source:** Lechner, Hasani, Rus and Grosu (2020), *Gershgorin loss stabilizes the recurrent neural
    network compartment of an end-to-end robot learning scheme*; arXiv:2011.13492; neuromancer.slim.
    """

    w: Float[Array, "n n"]
    diag: Float[Array, " n"]
    sigma_min: float = eqx.field(static=True)
    sigma_max: float = eqx.field(static=True)
    real: bool = eqx.field(static=True)
    symmetric: bool = eqx.field(static=True)

    _source_options = {"symmetric": False}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        sigma_min: Number = 0.0,
        sigma_max: Number = 1.0,
        real: bool = True,
        symmetric: bool = True,
    ):
        bias_key, w_key, diag_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.sigma_min, self.sigma_max = ordered_bounds(sigma_min, sigma_max)
        self.real, self.symmetric = real, symmetric
        self.w = jr.uniform(w_key, (in_features, in_features))
        self.diag = jr.normal(diag_key, (in_features,))

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        centre = (self.sigma_min + self.sigma_max) / 2
        radius = (self.sigma_max - self.sigma_min) / 2
        scores = self.w + self.w.T if self.real else self.w
        shares = _off_diagonal_softmax(scores, symmetric=self.real and self.symmetric)
        return jnp.diag(centre + radius * (jax.nn.sigmoid(self.diag) - 0.5)) + radius / 2 * shares

    @property
    def equation(self) -> str:
        kind = "real eigenvalues" if self.real else "|eigenvalue - centre| <= radius"
        return (
            f"W = diag(d) + (radius / 2) * softmax of each row off the diagonal, {kind}, "
            f"[{self.sigma_min:g}, {self.sigma_max:g}]"
        )

    def violation(self) -> Float[Array, ""]:
        W = at_least_single(self.effective_W())
        if self.real and self.symmetric:
            return spectrum_outside(W, self.sigma_min, self.sigma_max)
        # The theorem's own hypothesis, which bounds the eigenvalues on every platform.
        diagonal = jnp.diagonal(W)
        reach = jnp.abs(diagonal - (self.sigma_min + self.sigma_max) / 2)
        reach = reach + jnp.sum(jnp.abs(W - jnp.diag(diagonal)), axis=1)
        return outside(reach, 0.0, (self.sigma_max - self.sigma_min) / 2)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        centre = (self.sigma_min + self.sigma_max) / 2
        radius = (self.sigma_max - self.sigma_min) / 2
        diag = -unsqueezed(jnp.diagonal(W), centre - radius / 2, centre + radius / 2)
        off = ~jnp.eye(W.shape[0], dtype=bool)
        shares = W / (radius / 2) if radius > 0 else jnp.ones_like(W)
        if not self.real:
            scores = logarithm(_rows_onto_simplex(shares, off))
        elif self.symmetric:
            # Members are e^A scaled on both sides by one vector, their own for the eigenvalue 1.
            # (Entries of rounding size keep that vector positive.)
            least = jnp.finfo(W.dtype).eps
            shares = jnp.where(off, jnp.maximum(symmetric_part(shares), least), 0)
            logs = logarithm(_perron_vector(shares))
            scores = (logarithm(shares) + logs[:, None] + logs[None, :]) / 2
        else:
            # Members are e^A scaled by rows: chains in which as much flows one way as the other.
            chain = _rows_onto_simplex(shares, off)
            flow = _stationary(chain)[:, None] * chain
            scores = logarithm(symmetric_part(flow)) / 2
        return {"w": jnp.where(off, scores, 0), "diag": diag}


def _rows_onto_simplex(W: Float[Array, "n n"], off: Bool[Array, "n n"]) -> Float[Array, "n n"]:
    """Each row's projection onto the non-negative rows of sum 1 that are 0 on the diagonal."""
    # What lies far enough below the other entries is projected to 0.
    floor = jnp.min(W, axis=1, keepdims=True) - 1
    return onto_simplex(jnp.where(off, W, floor))


def _perron_vector(S: Float[Array, "n n"]) -> Float[Array, " n"]:
    """The positive eigenvector of a positive symmetric matrix, as a high power of it applied to ones."""
    values, vectors = jnp.linalg.eigh(S)
    share = jax.nn.relu(values) / jnp.maximum(values[-1], jnp.finfo(S.dtype).tiny)
    power = share ** (1 / jnp.finfo(S.dtype).eps)
    return jax.nn.relu(vectors @ (power * jnp.sum(vectors, axis=0)))


def _stationary(P: Float[Array, "n n"]) -> Float[Array, " n"]:
    """The stationary distribution of a Markov chain; of some mixture, if there are several."""
    n = P.shape[0]
    escape = 4 * jnp.finfo(P.dtype).eps
    P = (1 - escape) * P + escape / n
    ones = jnp.ones(n, P.dtype)
    return jax.nn.relu(jnp.linalg.solve(jnp.eye(n, dtype=P.dtype) - P.T + 1, ones))


def _off_diagonal_softmax(scores: Float[Array, "n n"], *, symmetric: bool) -> Float[Array, "n n"]:
    n = scores.shape[0]
    if n == 1:
        return jnp.zeros_like(scores)
    off = ~jnp.eye(n, dtype=bool)
    logs = at_least_single(scores)
    totals = jax.nn.logsumexp(jnp.where(off, logs, -jnp.inf), axis=1)
    if symmetric:
        logs = logs - (totals[:, None] + totals[None, :]) / 2
        logs = (logs + logs.T) / 2  # symmetric to the last bit
    else:
        logs = logs - totals[:, None]
    return jnp.where(off, jnp.exp(jnp.where(off, logs, 0)), 0).astype(scores.dtype)
