"""Small functions that several families of maps share."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray, Shaped

from .._core import at_unit_size


def uniform(key: PRNGKeyArray, shape: tuple[int, ...], fan_in: int) -> Float[Array, "*shape"]:
    r"""Uniform in $\pm 1/\sqrt{\text{fan in}}$: the usual start of a dense layer."""
    bound = 1 / math.sqrt(fan_in)
    return jr.uniform(key, shape, minval=-bound, maxval=bound)


def at_least_single(x: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """`x` in single precision if it is in half precision, which no factorisation or solve accepts."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def between(
    x: Float[Array, "*shape"],
    lower: Float[Array, ""] | float,
    upper: Float[Array, ""] | float,
) -> Float[Array, "*shape"]:
    r"""$u - (u - l)\,\sigma(x)$: the whole line squeezed between two bounds, falling in `x`."""
    return upper - (upper - lower) * jax.nn.sigmoid(x)


def unsqueezed(y: Float[Array, "*shape"], lower: float, upper: float) -> Float[Array, "*shape"]:
    """The inverse of `between`; values at or outside a bound give a large finite number."""
    if lower == upper:
        return jnp.zeros_like(y)
    eps = jnp.finfo(y.dtype).eps
    share = jnp.clip((upper - y) / (upper - lower), eps / 4, 1 - eps / 2)
    return jnp.log(share) - jnp.log1p(-share)


def frobenius(x: Inexact[Array, "*shape"]) -> Float[Array, ""]:
    """The root of the sum of squares, with gradient 0 at 0; no square over- or underflows."""
    return at_unit_size(lambda y: entrywise(y, 2), x)


def entrywise(x: Inexact[Array, "*shape"], p: float | int) -> Float[Array, ""]:
    r"""$(\sum |x_i|^p)^{1/p}$ for a finite $p \ge 1$, with gradient 0 at 0 (for $p = 1$ and in single
    entries too)."""
    size = jnp.abs(jnp.where(x != 0, x, 1))
    total = jnp.sum(jnp.where(x != 0, size**p, 0))
    return jnp.where(total != 0, jnp.where(total != 0, total, 1) ** (1 / p), 0)


def largest(x: Shaped[Array, "..."]) -> Float[Array, ""]:
    """The largest magnitude; 0 for an empty array."""
    return jnp.max(jnp.abs(at_least_single(x)), initial=0.0)


def outside(
    x: Float[Array, "*shape"],
    lower: Float[Array, ""] | float,
    upper: Float[Array, ""] | float,
) -> Float[Array, ""]:
    """How far the worst entry of `x` lies outside `[lower, upper]`."""
    return largest(jnp.maximum(jnp.maximum(lower - x, x - upper), 0))


def orthonormality(columns: Inexact[Array, "n m"]) -> Float[Array, ""]:
    """The largest entry of $|C^H C - I|$."""
    columns = at_least_single(columns)
    return largest(columns.conj().T @ columns - jnp.eye(columns.shape[1], dtype=columns.dtype))


def logarithm(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The logarithm, finite at 0: the softmax of it differs from `p` by less than rounding."""
    return jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny))


def onto_simplex(
    W: Float[Array, "n m"], total: Float[Array, "#n 1"] | float = 1.0
) -> Float[Array, "n m"]:
    """Each row's Euclidean projection onto the non-negative rows that sum to `total`.

    Duchi et al. (2008), *Efficient projections onto the l1-ball*: subtract the threshold that
    leaves the right sum, found by sorting.
    """
    descending = -jnp.sort(-W, axis=1)
    count = jnp.arange(1, W.shape[1] + 1, dtype=W.dtype)
    threshold = (jnp.cumsum(descending, axis=1) - total) / count
    kept = jnp.sum(descending > threshold, axis=1, keepdims=True)
    at = jnp.take_along_axis(threshold, jnp.maximum(kept - 1, 0), axis=1)
    return jnp.maximum(W - at, 0)
