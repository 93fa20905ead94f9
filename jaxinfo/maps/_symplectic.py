r"""Symplectic and Hamiltonian maps. Throughout, $J = \begin{pmatrix} 0 & I \\ -I & 0 \end{pmatrix}$."""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .._core import checked, may_be_divided, public
from ._base import AbstractSquareMap
from ._numerics import at_least_single, largest, uniform
from ._options import even
from ._symmetric import symmetric_part


class AbstractExchange(AbstractSquareMap):
    """The base of maps that exchange the two halves, given by the upper right block (`weight`)."""

    weight: Float[Array, "half half"]

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        half = even(type(self).__name__, in_features) // 2
        self.weight = jr.normal(key, (half, half)) * (2 / half) ** 0.5


@public
class SymplecticLinear(AbstractExchange):
    r"""$W = \begin{pmatrix} 0 & A \\ -A^{-T} & 0 \end{pmatrix}$, so that $W^T J W = J$.

    It exchanges positions and momenta. $A$ has to be invertible, which almost every matrix is; near a
    singular one the entries of $W$ grow without bound. Where that can happen, use
    `ShearSymplecticLinear`, which inverts nothing.

    `from_matrix` keeps the upper right block, which has to be invertible. That gives back a member;
    the member nearest to another matrix is not known.

    **Source:** https://en.wikipedia.org/wiki/Symplectic_matrix; the class of neuromancer.slim, whose
    matrix (here `SkewBlockLinear`) is not symplectic.
    """

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        A = at_least_single(self.weight)
        inverse = jnp.linalg.inv(A)
        W = _blocks(jnp.zeros_like(A), A, -inverse.T, jnp.zeros_like(A))
        return W.astype(self.weight.dtype)

    @property
    def equation(self) -> str:
        return "W = [[0, A], [-A^-T, 0]], so W^T J W = J"

    def violation(self) -> Float[Array, ""]:
        return _symplectic_residual(self.effective_W())

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        q, p = jnp.split(x, 2, axis=-1)
        solved = _times_inverse_transpose(p, self.weight)
        return jnp.concatenate([-solved, q @ self.weight], axis=-1)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        half = W.shape[0] // 2
        A = W[:half, half:]
        singular = ~jnp.all(jnp.isfinite(jnp.linalg.inv(A)))
        return {"weight": checked(A, singular, "The upper right block of `W` must be invertible.")}


def _times_inverse_transpose(
    p: Inexact[Array, "*batch n"], A: Inexact[Array, "n n"]
) -> Inexact[Array, "*batch n"]:
    """$p A^{-T}$, the transpose of the solution of $A y = p^T$."""
    wide, A = at_least_single(p), at_least_single(A)
    if may_be_divided(p):  # a solution merges the axes of a batch
        return (wide @ jnp.linalg.inv(A).T).astype(p.dtype)
    solved = jnp.linalg.solve(A, wide.reshape(-1, A.shape[0]).T).T
    return solved.reshape(p.shape).astype(p.dtype)


@public
class ShearSymplecticLinear(AbstractSquareMap):
    r"""A symplectic matrix for every parameter: a product of two shears.

    $$W = \begin{pmatrix} I & S \\ 0 & I \end{pmatrix} \begin{pmatrix} I & 0 \\ R & I \end{pmatrix},
    \qquad S = S^T, \quad R = R^T$$

    Nothing is inverted, $\det W = 1$, and near 0 the map is near the identity. Two shears in sequence
    are two maps in sequence; enough of them reach every symplectic matrix.

    `from_matrix` reads $S$ and $R$ off their blocks, made symmetric. That gives back a member; the
    member nearest to another matrix is not known.

    **Reference:** Jin, Zhang, Zhu, Tang and Karniadakis (2020), *SympNets*, arXiv:2001.03750.
    """

    S: Float[Array, "half half"]
    R: Float[Array, "half half"]

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        bias_key, s_key, r_key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        half = even(type(self).__name__, in_features) // 2
        self.S = uniform(s_key, (half, half), in_features)
        self.R = uniform(r_key, (half, half), in_features)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        S, R = symmetric_part(self.S), symmetric_part(self.R)
        eye = jnp.eye(S.shape[0], dtype=S.dtype)
        return _blocks(eye + S @ R, S, R, eye)

    @property
    def equation(self) -> str:
        return "W = [[I, S], [0, I]] [[I, 0], [R, I]], S and R symmetric, so W^T J W = J"

    def violation(self) -> Float[Array, ""]:
        return _symplectic_residual(self.effective_W())

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        q, p = jnp.split(x, 2, axis=-1)
        p = p + q @ symmetric_part(self.S)
        return jnp.concatenate([q + p @ symmetric_part(self.R), p], axis=-1)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        half = W.shape[0] // 2
        return {"S": symmetric_part(W[:half, half:]), "R": symmetric_part(W[half:, :half])}


@public
class SkewBlockLinear(AbstractExchange):
    r"""$W = \begin{pmatrix} 0 & A \\ -A^T & 0 \end{pmatrix}$: skew-symmetric, in two blocks.

    **Source:** the matrix that neuromancer.slim computes under the name of `SymplecticLinear`.
    """

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        zero = jnp.zeros_like(self.weight)
        return _blocks(zero, self.weight, -self.weight.T, zero)

    @property
    def equation(self) -> str:
        return "W = [[0, A], [-A^T, 0]], so W = -W^T"

    def violation(self) -> Float[Array, ""]:
        W = self.effective_W()
        return largest(W + W.T)

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        q, p = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([-p @ self.weight.T, q @ self.weight], axis=-1)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        half = W.shape[0] // 2
        return {"weight": (W[:half, half:] - W[half:, :half].T) / 2}


@public
class HamiltonianLinear(AbstractSquareMap):
    r"""$W = \begin{pmatrix} A & G \\ F & -A^T \end{pmatrix}$ with $G$ and $F$ symmetric: $J W$ is symmetric.

    The generator of a linear Hamiltonian flow: $e^{tW}$ is symplectic, and eigenvalues come in pairs
    $\pm\lambda$.

    **Reference:** https://en.wikipedia.org/wiki/Hamiltonian_matrix
    """

    A: Float[Array, "half half"]
    G: Float[Array, "half half"]
    F: Float[Array, "half half"]

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        bias_key, *keys = jr.split(key, 4)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        half = even(type(self).__name__, in_features) // 2
        self.A, self.G, self.F = (uniform(k, (half, half), in_features) for k in keys)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return _blocks(self.A, symmetric_part(self.G), symmetric_part(self.F), -self.A.T)

    @property
    def equation(self) -> str:
        return "W = [[A, G], [F, -A^T]], G and F symmetric, so (J W)^T = J W"

    def violation(self) -> Float[Array, ""]:
        JW = _J_times(self.effective_W())
        return largest(JW - JW.T)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        half = W.shape[0] // 2
        A, G, F, D = W[:half, :half], W[:half, half:], W[half:, :half], W[half:, half:]
        return {"A": (A - D.T) / 2, "G": symmetric_part(G), "F": symmetric_part(F)}


def _blocks(a: Array, b: Array, c: Array, d: Array) -> Float[Array, "n n"]:
    return jnp.block([[a, b], [c, d]])


def _J_times(W: Float[Array, "n n"]) -> Float[Array, "n n"]:
    upper, lower = jnp.split(W, 2, axis=0)
    return jnp.concatenate([lower, -upper], axis=0)


def _symplectic_residual(W: Float[Array, "n n"]) -> Float[Array, ""]:
    """The largest entry of $|W^T J W - J|$, relative to the largest product of two entries."""
    W = at_least_single(W)
    J = _J_times(jnp.eye(W.shape[0], dtype=W.dtype))
    return largest(W.T @ _J_times(W) - J) / jnp.maximum(largest(W) ** 2, 1)
