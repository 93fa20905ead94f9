"""Functions with a threshold: steps, shrinkage, winners."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .._core import as_inexact, nan_where, public


def heaviside(x: ArrayLike) -> Array:
    r"""$f(x) = 1$ for $x \ge 0$, else 0: threshold neurons fire at their threshold
    (McCulloch and Pitts 1943, *Bull. Math. Biophysics* 5:115).

    `jax.grad` gives its derivative, 0; `d_heaviside` is the straight-through estimate.

    >>> import jax.numpy as jnp
    >>> heaviside(jnp.array([-1.0, 0.0, 1.0]))
    Array([0., 1., 1.], dtype=float32)
    """
    return threshold(x, 0.0)


@public
def threshold(x: ArrayLike, thr: ArrayLike = 1.0) -> Array:
    r"""$f(x) = 1$ for $x \ge$ `thr`, else 0.

    `jax.grad` gives its derivative, 0; `d_threshold` is the straight-through estimate.

    >>> import jax.numpy as jnp
    >>> threshold(jnp.array([0.5, 1.0, 2.0]))
    Array([0., 1., 1.], dtype=float32)
    """
    x = as_inexact(x)
    return _step(x >= thr, x < thr, x - thr).astype(x.dtype)


def spike(x: ArrayLike) -> Array:
    """$f(x) = 1$ for $x > 0$, else 0: `heaviside` but for 0 itself.

    The hard step of a spiking neuron; `jaxinfo.surrogate` gives it a gradient.

    >>> import jax.numpy as jnp
    >>> spike(jnp.array([-1.0, 0.0, 1.0]))
    Array([0., 0., 1.], dtype=float32)
    """
    x = as_inexact(x)
    return _step(x > 0, x <= 0, x)


def _step(above: Array, below: Array, x: Array) -> Array:
    """1 where `above` and 0 where `below`; NaN, which is neither, stays."""
    return jnp.where(above, 1, jnp.where(below, 0, x))


def sign(x: ArrayLike) -> Array:
    """$f(x) = -1, 0, 1$ for negative, zero and positive $x$.

    >>> import jax.numpy as jnp
    >>> sign(jnp.array([-3.0, 0.0, 2.0]))
    Array([-1.,  0.,  1.], dtype=float32)
    """
    return jnp.sign(as_inexact(x))


@public
def threshold_soft(x: ArrayLike, lmbda: ArrayLike) -> Array:
    r"""Soft threshold: $f(x) = \operatorname{sign}(x) \max(|x| - \lambda, 0)$.

    The proximal map of $\lambda |x|$. The derivative is 1 where $|x| > \lambda$, else 0.

    **Source:** Donoho and Johnstone (1994), *Biometrika* 81:425.

    >>> import jax.numpy as jnp
    >>> threshold_soft(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([-2.,  0.,  1.], dtype=float32)
    """
    x = as_inexact(x)
    return jnp.where(jnp.abs(x) <= lmbda, 0, x - jnp.sign(x) * lmbda)


@public
def threshold_cauchy(x: ArrayLike, lmbda: ArrayLike) -> Array:
    r"""Threshold of a Cauchy prior:

    $$f(x) = \tfrac{1}{2}\bigl(x + \operatorname{sign}(x) \sqrt{\max(x^2 - \lambda, 0)}\bigr)
    \quad \text{where } |x| \ge \lambda, \text{ else } 0.$$

    It shrinks large values less than `threshold_soft` does. Where the root is 0 its (infinite)
    derivative is taken as 0.

    **Source:** Mayo et al. (2020), arXiv:2003.12507; the gate at $|x| = \lambda$ is inclusive.

    >>> import jax.numpy as jnp
    >>> threshold_cauchy(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([-2.914...,  0.       ,  1.866...], dtype=float32)
    """
    x = as_inexact(x)
    ordinary = (x != 0) & jnp.isfinite(x)
    z = jnp.where(ordinary, x, 1)
    # sign(x) sqrt(x^2 - lambda) = x sqrt(1 - lambda / x^2): x^2 overflows long before x does.
    inner = 1 - lmbda / z / z
    root = jnp.where(inner > 0, z * jnp.sqrt(jnp.where(inner > 0, inner, 1)), 0)
    shrunk = jnp.where(ordinary, (z + root) / 2, x)
    return nan_where(jnp.isnan(lmbda), jnp.where(jnp.abs(x) < lmbda, 0, shrunk))


@public
def bkwta(x: ArrayLike, nWTA: int = 5) -> Array:
    """Binary $K$ winners take all: 1 for the `nWTA` largest of the last axis, else 0.

    $f(x)_i = 1$ where $x_i$ is at least the `nWTA`-th largest entry: all entries equal to the last
    winner win with it.

    **Raises:** `ValueError` unless `nWTA` lies between 1 and the length of the last axis.

    >>> import jax.numpy as jnp
    >>> bkwta(jnp.array([0.1, 0.9, 0.5]), 2)
    Array([0., 1., 1.], dtype=float32)
    """
    x = as_inexact(x)
    if not x.ndim:
        raise ValueError("`x` must have an axis along which entries compete; got a number.")
    if not 1 <= nWTA <= x.shape[-1]:
        raise ValueError(
            f"`nWTA` must lie between 1 and the length {x.shape[-1]} of the last axis; got {nWTA}."
        )
    least = jax.lax.top_k(x, nWTA)[0][..., -1:]
    unknown = jnp.any(jnp.isnan(x), axis=-1, keepdims=True)  # who wins then
    return nan_where(unknown, (x >= least).astype(x.dtype))
