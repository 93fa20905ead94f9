"""Link functions: softmax, and the inverses of tanh and of the logistic function."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Num

from .._core import as_inexact, checked, public


@public
def softmax(
    x: Num[ArrayLike, "*batch classes"], tau: ArrayLike = 0.0
) -> Float[Array, "*batch classes"]:
    r"""Softmax along the last axis, $f(x)_i = e^{x_i/\tau} / \sum_j e^{x_j/\tau}$.

    **Arguments:**

    - `tau`: temperature; above 1 softens, towards 0 sharpens. 0 or less means no temperature, as
        does 1.

    Safe from overflow: the maximum is subtracted first. Entries at infinity share the mass.

    **Source:** Bridle (1990), in *Neurocomputing*, NATO ASI F68:227.

    >>> import jax.numpy as jnp
    >>> softmax(jnp.array([[0.0, 0.0], [1e30, 0.0]]))
    Array([[0.5, 0.5],
           [1. , 0. ]], dtype=float32)
    """
    x = as_inexact(x)
    top = jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf))
    # With +inf among the entries, what is left of the others is nothing.
    ceiling = jnp.where(x == top, 0.0, -jnp.inf).astype(x.dtype)
    # The maximum goes first, so that a small temperature cannot make everything infinite.
    below = jnp.where(jnp.isinf(top), ceiling, x - jnp.where(jnp.isinf(top), 0, top))
    return jax.nn.softmax(below / _temperature(tau, x), axis=-1)


@public
def d_softmax(
    x: Num[ArrayLike, "*batch classes"], tau: ArrayLike = 0.0
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


@public
def inverse_tanh(x: ArrayLike, clip_bound: ArrayLike = 0.0) -> Array:
    r"""The inverse hyperbolic tangent, $f(x) = \tfrac{1}{2} \ln\frac{1 + x}{1 - x}$.

    **Arguments:**

    - `clip_bound`: if positive, `x` is first clipped to $[-1 + b, 1 - b]$, where the derivative is
        0; the values there are exact even where `1 - b` is not a number of the dtype. Without it
        $\pm 1$ give $\pm\infty$ and what lies outside gives NaN.

    **Raises:** `ValueError` for a bound of 1 or more, where its value is known.

    >>> import jax.numpy as jnp
    >>> inverse_tanh(jnp.tanh(jnp.array([-1.0, 0.5]))).round(4)
    Array([-1. ,  0.5], dtype=float32)
    """
    x = as_inexact(x)
    bound = _bound(clip_bound, x, 1.0)
    most = (jnp.log(2 - bound) - jnp.log(bound)) / 2
    return _clipped(jnp.arctanh, x, (-1.0, 1.0), bound, (-most, most))


@public
def inverse_logistic(x: ArrayLike, clip_bound: ArrayLike = 0.03) -> Array:
    r"""The logit, $f(x) = \ln\frac{x}{1 - x}$, inverse of the sigmoid.

    **Arguments:**

    - `clip_bound`: if positive, `x` is first clipped to $[b, 1 - b]$, where the derivative is 0;
        the values there are exact even where `1 - b` is not a number of the dtype. With 0 the ends
        of $[0, 1]$ give $\pm\infty$ and what lies outside gives NaN.

    **Raises:** `ValueError` for a bound of 1/2 or more, where its value is known.

    >>> import jax.numpy as jnp
    >>> inverse_logistic(jnp.array([0.5, 0.75, 1.0])).round(4)
    Array([0.    , 1.0986, 3.4761], dtype=float32)
    """
    x = as_inexact(x)
    bound = _bound(clip_bound, x, 0.5)
    most = jnp.log1p(-bound) - jnp.log(bound)
    return _clipped(lambda x: jnp.log(x) - jnp.log1p(-x), x, (0.0, 1.0), bound, (-most, most))


def _temperature(tau: ArrayLike, like: Array) -> Array:
    tau = jnp.asarray(tau, like.dtype)
    return jnp.where(tau > 0, tau, 1)


def _bound(bound: ArrayLike, like: Array, limit: float) -> Array:
    bound = jnp.asarray(bound, like.dtype)
    message = f"`clip_bound` must be less than {limit:g}, or nothing is left; got {bound}."
    return checked(bound, jnp.any(bound >= limit), message)


def _clipped(
    fn: Callable[[Array], Array],
    x: Array,
    ends: tuple[float, float],
    bound: Array,
    limits: tuple[Array, Array],
) -> Array:
    """`fn`, and its `limits` where `x` is within `bound` of an end or beyond, for a positive one."""
    low, high = ((bound > 0) & outside for outside in (x <= ends[0] + bound, x >= ends[1] - bound))
    inside = fn(jnp.where(low | high, sum(ends) / 2, x))
    return jnp.where(low, limits[0], jnp.where(high, limits[1], inside))
