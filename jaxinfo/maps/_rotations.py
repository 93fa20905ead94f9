r"""Planes and angles of normal matrices, by the real Schur form.

A rotation is orthogonally similar to rotations of separate planes; its real Schur form shows them.
LAPACK alone offers that form, so what is here runs on a CPU.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def polar(W: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """The nearest matrix with orthonormal columns (or rows): $U V^T$ of $W = U S V^T$."""
    U, _, Vt = jnp.linalg.svd(W, full_matrices=False)
    return U @ Vt


def nearest_rotation(W: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The nearest orthogonal matrix of determinant 1.

    Kabsch (1976), *A solution for the best rotation to relate two sets of vectors*: where the polar
    factor is a reflection, the direction of the smallest singular value is turned round.
    """
    U, _, Vt = jnp.linalg.svd(W, full_matrices=False)
    return (U.at[:, -1].multiply(jnp.sign(jnp.linalg.det(U @ Vt)))) @ Vt


def skew_of_rotation(
    Q: Float[Array, "n n"], of_angle: Callable[[Float[Array, "..."]], Float[Array, "..."]]
) -> Float[Array, "n n"]:
    r"""The skew-symmetric matrix that is `of_angle(a)` times a quarter turn where `Q` turns by $a$.

    With the identity for `of_angle`, the logarithm of `Q`. Angles lie in $(-\pi, \pi]$; a double
    eigenvalue $-1$ is a turn by $\pi$ of some plane.
    """
    T, Z = jax.scipy.linalg.schur(Q)
    starts, single = _blocks(T)
    sines, cosines = jnp.diagonal(T, -1) - jnp.diagonal(T, 1), jnp.diagonal(T)
    angles = jnp.where(starts, jnp.arctan2(sines, cosines[:-1] + cosines[1:]), 0)
    S = jnp.diag(jnp.where(starts, of_angle(angles), 0), -1)
    # Eigenvalues -1 that stand alone come in an even number: pair them as they come.
    flipped = single & (cosines < 0)
    order = jnp.argsort(~flipped, stable=True)
    first, second = order[0:-1:2], order[1::2]
    half_turn = jnp.where(flipped[second], of_angle(jnp.asarray(jnp.pi, Q.dtype)), 0)
    S = S.at[second, first].add(half_turn)
    return Z @ (S - S.T) @ Z.T


def planes_of_normal(
    W: Float[Array, "n n"],
) -> tuple[Float[Array, "n n"], Float[Array, " pairs"], Float[Array, " pairs"]]:
    r"""$Z$, $\gamma$, $\theta$ with $W = Z T Z^T$, $T$ made of $\gamma_k$ times rotations by $\theta_k$.

    Equal for a normal matrix of even size whose real eigenvalues come in equal pairs. Otherwise $T$ is
    what is nearest to such blocks in the real Schur basis.
    """
    T, Z = jax.scipy.linalg.schur(W)
    _, single = _blocks(T)
    # Planes first, in place, then real eigenvalues by size so that equal ones meet.
    order = jnp.lexsort((jnp.where(single, jnp.diagonal(T), 0), single))
    T, Z = T[order][:, order], Z[:, order]
    cosines = (jnp.diagonal(T)[0::2] + jnp.diagonal(T)[1::2]) / 2
    sines = (jnp.diagonal(T, -1)[0::2] - jnp.diagonal(T, 1)[0::2]) / 2
    return Z, jnp.hypot(cosines, sines), jnp.arctan2(sines, cosines)


def _blocks(T: Float[Array, "n n"]) -> tuple[Bool[Array, " m"], Bool[Array, " n"]]:
    """Where the 2 x 2 blocks of a quasi-triangular matrix start, and what belongs to none."""
    starts = jnp.diagonal(T, -1) != 0
    return starts, ~(jnp.append(starts, False) | jnp.append(False, starts))
