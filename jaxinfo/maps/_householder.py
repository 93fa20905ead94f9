r"""Products of Householder reflections.

A reflection is $H(u) = I - 2 u u^T / u^T u$. With the unit vectors of $m$ reflections as the columns
of $V$, their product has the compact form

$$H_1 H_2 \cdots H_m = I - V T V^T, \qquad T^{-1} = \tfrac12 I + \mathrm{striu}(V^T V),$$

so that a batch of $b$ vectors costs two matrix products and one triangular solve,
$O(b\,n m + b\,m^2)$, after one product of $O(n m^2)$; nothing is done one reflection at a time.

Joffrain, Low, Quintana-Orti, van de Geijn and Van Zee (2006), *Accumulating Householder
transformations, revisited*, ACM Trans. Math. Softw. 32:169.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from .._core import as_inexact, may_be_divided, public
from ._numerics import at_least_single


@public
def householder_product(
    x: Shaped[ArrayLike, "*batch n"], u: Shaped[ArrayLike, "..."], k: int | None = None
) -> Float[Array, "*batch n"]:
    r"""Reflect the last `k` coordinates of `x` in the hyperplane normal to the last `k` of `u`.

    $$y = x - 2 \frac{x^T u}{u^T u} u$$

    on those coordinates; the others stay. With `u` of shape `(m, n)`, the product of $m$ reflections:
    row 0 acts first. `k = 0` is the identity, and so is a reflection whose vector is 0, with
    gradient 0 for that vector.

    **Arguments:**

    - `x`: one vector or any batch of them.
    - `u`: one vector, or one a row.
    - `k`: from 0 to $n$; by default $n$.

    **Raises:** `ValueError` for `k` outside `0...n`, or sizes that differ.

    **Source:** `Hprod` of neuromancer.slim.

    >>> import jax.numpy as jnp
    >>> householder_product(jnp.array([3.0, 1.0, 2.0]), jnp.array([9.0, 1.0, -1.0]), 2)
    Array([3., 2., 1.], dtype=float32)
    """
    x, u = as_inexact(x), as_inexact(u)
    if x.ndim == 0:
        raise ValueError("`x` must be a vector or a batch of them; got a scalar.")
    n = x.shape[-1]
    if u.ndim not in (1, 2) or u.shape[-1] != n:
        raise ValueError(
            f"`u` must have shape ({n},) or (m, {n}), to reflect vectors of {n} coordinates; got "
            f"{u.shape}."
        )
    k = n if k is None else k
    if not 0 <= k <= n:
        raise ValueError(f"`k` must lie in 0...{n}, the number of coordinates; got {k}.")
    kept = jnp.arange(n) >= n - k
    return reflect(x, jnp.where(kept, jnp.atleast_2d(u), 0))


def unit_rows(u: Float[Array, "m n"]) -> Float[Array, "m n"]:
    """Each row divided by its length; a row of zeros stays, with gradient 0.

    The division by the largest entry first keeps the squares within range. The result does not
    depend on it, so neither does the gradient.
    """
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(u), axis=1, keepdims=True))
    zero = scale == 0
    u = u / jnp.where(zero, 1, scale)
    square = jnp.sum(u * u, axis=1, keepdims=True)
    return u * jax.lax.rsqrt(jnp.where(zero, 1, square))


def reflect(
    x: Float[Array, "*batch n"], u: Float[Array, "m n"], *, backwards: bool = False
) -> Float[Array, "*batch n"]:
    r"""$x H(u_1) H(u_2) \cdots H(u_m)$, or `backwards` $x H(u_m) \cdots H(u_1)$, its inverse."""
    dtype = jnp.result_type(x, u)
    x, v = at_least_single(x), unit_rows(at_least_single(u))
    if v.shape[0] == 0:
        return x.astype(dtype)
    inverse_T = jnp.eye(v.shape[0], dtype=v.dtype) / 2 + jnp.triu(v @ v.T, 1)
    # For the inverse product T is transposed.
    solve = functools.partial(jax.lax.linalg.triangular_solve, transpose_a=backwards, lower=False)
    if may_be_divided(x):
        return (x - (x @ v.T) @ solve(inverse_T, v, left_side=True)).astype(dtype)
    # Cheaper for fewer vectors than reflections, but it merges the axes of a batch: (x V) T is the row
    # vector z with z T^-1 = x V.
    rows = (x @ v.T).reshape(-1, v.shape[0])
    z = solve(inverse_T.astype(rows.dtype), rows, left_side=False)
    return (x - z.reshape(*x.shape[:-1], v.shape[0]) @ v).astype(dtype)


def vectors_of(Q: Float[Array, "n n"], m: int) -> Float[Array, "n n"]:
    """Vectors $u_i$, 0 before coordinate $i$, with $H(u_1) \\cdots H(u_m)$ equal to `Q` in its first
    `m` columns (in all, if `Q` is orthogonal and `m = n`); the rows from `m` on are 0.

    The $i$-th reflection takes what the earlier ones left of column $i$ to the unit vector $e_i$.
    """
    n = Q.shape[0]

    def eliminate(i, state):
        rest, vectors = state
        below = jnp.where(jnp.arange(n) >= i, rest[:, i], 0)
        tail = jnp.sum(jnp.where(jnp.arange(n) > i, below, 0) ** 2)
        # column - e_i, without the cancellation that 1 - below[i] would suffer near 1.
        pivot = jnp.where(below[i] > 0, -tail / (1 + below[i]), below[i] - 1)
        u = below.at[i].set(pivot)
        # A column that is already e_i: any reflection that fixes e_i will do, and unlike the zero
        # vector it has a gradient.
        fixing = (jnp.arange(n) == i + 1).astype(u.dtype)
        u = jnp.where(tail + jnp.abs(pivot) > 0, u, fixing)
        square = jnp.sum(u * u)
        image = rest - 2 * jnp.outer(u, u @ rest) / jnp.where(square > 0, square, 1)
        return image, vectors.at[i].set(u)

    _, vectors = jax.lax.fori_loop(0, m, eliminate, (Q, jnp.zeros_like(Q)))
    return vectors
