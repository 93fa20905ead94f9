"""Link functions: softmax, and the inverses of tanh and of the logistic function."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._core import as_inexact


def softmax(
    x: Float[ArrayLike, "*batch classes"], tau: ArrayLike = 0.0
) -> Float[Array, "*batch classes"]:
    r"""Softmax along the last axis, $f(x)_i = e^{x_i/\tau} / \sum_j e^{x_j/\tau}$.

    **Arguments:**

    - `tau`: temperature; above 1 softens, towards 0 sharpens. 0 or less means no temperature, as
        does 1.

    Safe from overflow: the maximum is subtracted first. Entries at infinity share the mass.

    >>> import jax.numpy as jnp
    >>> softmax(jnp.array([[0.0, 0.0], [1e30, 0.0]]))
    Array([[0.5, 0.5],
           [1. , 0. ]], dtype=float32)
    """
    x = jnp.asarray(x)
    scaled = x / _temperature(tau, x)
    top = jnp.max(scaled, axis=-1, keepdims=True)
    at_infinity = jnp.isposinf(top)
    # With +inf among the entries, what is left of the others is nothing.
    ceiling = jnp.where(scaled == top, 0.0, -jnp.inf).astype(x.dtype)
    return jax.nn.softmax(jnp.where(at_infinity | jnp.isneginf(top), ceiling, scaled), axis=-1)


def d_softmax(
    x: Float[ArrayLike, "*batch classes"], tau: ArrayLike = 0.0
) -> Float[Array, "*batch classes classes"]:
    r"""The Jacobian of `softmax`: $J_{ij} = f_i (\delta_{ij} - f_j) / \tau$ for each example.

    >>> import jax.numpy as jnp
    >>> d_softmax(jnp.array([0.0, 0.0]))
    Array([[ 0.25, -0.25],
           [-0.25,  0.25]], dtype=float32)
    """
    p = softmax(x, tau)
    others = jnp.eye(p.shape[-1], dtype=p.dtype) - p[..., None, :]
    return p[..., :, None] * others / _temperature(tau, p)


def inverse_tanh(x: ArrayLike, clip_bound: ArrayLike = 0.0) -> Array:
    r"""The inverse hyperbolic tangent, $f(x) = \tfrac{1}{2} \ln\frac{1 + x}{1 - x}$.

    **Arguments:**

    - `clip_bound`: if positive, `x` is first clipped to $[-1 + b, 1 - b]$. Without it $\pm 1$ give
        $\pm\infty$ and what lies outside gives NaN.

    >>> import jax.numpy as jnp
    >>> inverse_tanh(jnp.tanh(jnp.array([-1.0, 0.5]))).round(4)
    Array([-1. ,  0.5], dtype=float32)
    """
    x = as_inexact(x)
    return jnp.arctanh(_clipped(x, -1.0, 1.0, clip_bound))


def inverse_logistic(x: ArrayLike, clip_bound: ArrayLike = 0.03) -> Array:
    r"""The logit, $f(x) = \ln\frac{x}{1 - x}$, inverse of the sigmoid.

    **Arguments:**

    - `clip_bound`: if positive, `x` is first clipped to $[b, 1 - b]$. With 0 the ends of $[0, 1]$
        give $\pm\infty$ and what lies outside gives NaN.

    >>> import jax.numpy as jnp
    >>> inverse_logistic(jnp.array([0.5, 0.75, 1.0])).round(4)
    Array([0.    , 1.0986, 3.4761], dtype=float32)
    """
    x = _clipped(as_inexact(x), 0.0, 1.0, clip_bound)
    return jnp.log(x) - jnp.log1p(-x)


def _temperature(tau: ArrayLike, like: Array) -> Array:
    tau = jnp.asarray(tau, like.dtype)
    return jnp.where(tau > 0, tau, 1)


def _clipped(x: Array, lower: float, upper: float, bound: ArrayLike) -> Array:
    return jnp.where(jnp.asarray(bound) > 0, jnp.clip(x, lower + bound, upper - bound), x)
