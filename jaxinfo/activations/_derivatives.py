"""The documented derivatives: each is what `jax.grad` gives for its function, at the kinks too."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .._core import as_inexact, nan_where, public
from . import _functions as f
from ._activation import derivative


def d_identity(x: ArrayLike) -> Array:
    """$f'(x) = 1$.

    >>> import jax.numpy as jnp
    >>> d_identity(jnp.array([-jnp.inf, 2.0]))
    Array([1., 1.], dtype=float32)
    """
    return derivative(f.identity, x)


def d_relu(x: ArrayLike) -> Array:
    r"""$f'(x) = 1$ for $x > 0$, else 0.

    >>> import jax.numpy as jnp
    >>> d_relu(jnp.array([-1.0, 0.0, 1.0]))
    Array([0., 0., 1.], dtype=float32)
    """
    return derivative(f.relu, x)


def d_relu6(x: ArrayLike) -> Array:
    """$f'(x) = 1$ for $0 < x < 6$, else 0.

    >>> import jax.numpy as jnp
    >>> d_relu6(jnp.array([0.0, 1.0, 6.0]))
    Array([0., 1., 0.], dtype=float32)
    """
    return derivative(f.relu6, x)


def d_lrelu(x: ArrayLike) -> Array:
    r"""$f'(x) = 1$ for $x \ge 0$, else 0.01.

    >>> import jax.numpy as jnp
    >>> d_lrelu(jnp.array([-1.0, 0.0, 1.0]))
    Array([0.01, 1.  , 1.  ], dtype=float32)
    """
    return derivative(f.lrelu, x)


def d_tanh(x: ArrayLike) -> Array:
    r"""$f'(x) = 1 - \tanh^2 x$.

    >>> import jax.numpy as jnp
    >>> d_tanh(jnp.array([0.0, jnp.inf]))
    Array([1., 0.], dtype=float32)
    """
    return derivative(f.tanh, x)


def d_sigmoid(x: ArrayLike) -> Array:
    r"""$f'(x) = \sigma(x) (1 - \sigma(x))$.

    >>> import jax.numpy as jnp
    >>> d_sigmoid(jnp.array([0.0, -jnp.inf]))
    Array([0.25, 0.  ], dtype=float32)
    """
    return derivative(f.sigmoid, x)


def d_softplus(x: ArrayLike) -> Array:
    r"""$f'(x) = \sigma(x)$.

    >>> import jax.numpy as jnp
    >>> d_softplus(jnp.array([0.0, jnp.inf]))
    Array([0.5, 1. ], dtype=float32)
    """
    return derivative(f.softplus, x)


def d_heaviside(x: ArrayLike) -> Array:
    """The straight-through estimate 1, everywhere (the derivative is 0 almost everywhere).

    **Source:** Bengio, Leonard and Courville (2013), arXiv:1308.3432.

    >>> import jax.numpy as jnp
    >>> d_heaviside(jnp.array([-jnp.inf, 0.0, 3.0]))
    Array([1., 1., 1.], dtype=float32)
    """
    x = as_inexact(x)
    return nan_where(jnp.isnan(x), jnp.ones_like(x))


@public
def d_threshold(x: ArrayLike, thr: ArrayLike = 1.0) -> Array:
    """The straight-through estimate 1, wherever the threshold lies.

    **Source:** Bengio, Leonard and Courville (2013), arXiv:1308.3432.

    >>> import jax.numpy as jnp
    >>> d_threshold(jnp.array([-jnp.inf, 1.0]))
    Array([1., 1.], dtype=float32)
    """
    return d_heaviside(x)
