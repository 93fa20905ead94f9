"""The smooth and piecewise linear functions.

All take arrays of any shape and floating dtype, and none is NaN at infinity or where a power
overflows, neither in value nor in derivative.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .._core import as_inexact, public


def identity(x: ArrayLike) -> Array:
    """$f(x) = x$.

    >>> import jax.numpy as jnp
    >>> identity(jnp.array([-1.0, 0.0, 2.0]))
    Array([-1.,  0.,  2.], dtype=float32)
    """
    return as_inexact(x)


def relu(x: ArrayLike) -> Array:
    r"""$f(x) = \max(0, x)$; the derivative at 0 is 0 (Nair and Hinton 2010, ICML).

    >>> import jax.numpy as jnp
    >>> relu(jnp.array([-1.0, 0.0, 2.0]))
    Array([0., 0., 2.], dtype=float32)
    """
    return jax.nn.relu(as_inexact(x))


def relu6(x: ArrayLike) -> Array:
    r"""$f(x) = \min(\max(0, x), 6)$; the derivative at 0 and at 6 is 0
    (Krizhevsky 2010, convolutional deep belief networks).

    >>> import jax.numpy as jnp
    >>> relu6(jnp.array([-1.0, 0.0, 7.0]))
    Array([0., 0., 6.], dtype=float32)
    """
    return jax.nn.relu6(as_inexact(x))


def lrelu(x: ArrayLike) -> Array:
    r"""Leaky ReLU: $f(x) = x$ for $x \ge 0$, else $0.01 x$; the derivative at 0 is 1
    (Maas et al. 2013, ICML workshop).

    >>> import jax.numpy as jnp
    >>> lrelu(jnp.array([-1.0, 0.0, 2.0]))
    Array([-0.01,  0.  ,  2.  ], dtype=float32)
    """
    return jax.nn.leaky_relu(as_inexact(x))


def tanh(x: ArrayLike) -> Array:
    r"""$f(x) = \tanh x$.

    >>> import jax.numpy as jnp
    >>> tanh(jnp.array([-1.0, 0.0, 2.0]))
    Array([-0.7615942,  0.       ,  0.9640276], dtype=float32)
    """
    return jnp.tanh(as_inexact(x))


def sigmoid(x: ArrayLike) -> Array:
    r"""$f(x) = 1 / (1 + e^{-x})$.

    >>> import jax.numpy as jnp
    >>> sigmoid(jnp.array([-1.0, 0.0, 2.0]))
    Array([0.26894143, 0.5       , 0.880797  ], dtype=float32)
    """
    return jax.nn.sigmoid(as_inexact(x))


def softplus(x: ArrayLike) -> Array:
    r"""$f(x) = \ln(1 + e^x)$ (Dugas et al. 2001, NIPS 13).

    >>> import jax.numpy as jnp
    >>> softplus(jnp.array([-1.0, 0.0, 2.0]))
    Array([0.3132617, 0.6931472, 2.126928 ], dtype=float32)
    """
    return jax.nn.softplus(as_inexact(x))


def log_sigmoid(x: ArrayLike) -> Array:
    r"""$f(x) = -\ln(1 + e^{-x})$.

    >>> import jax.numpy as jnp
    >>> log_sigmoid(jnp.array([-1.0, 0.0, 2.0]))
    Array([-1.3132617, -0.6931472, -0.126928 ], dtype=float32)
    """
    return -jax.nn.softplus(-as_inexact(x))


def elu(x: ArrayLike) -> Array:
    """$f(x) = x$ for $x > 0$, else $e^x - 1$ (Clevert et al. 2015, arXiv:1511.07289).

    >>> import jax.numpy as jnp
    >>> elu(jnp.array([-1.0, 0.0, 2.0]))
    Array([-0.63212055,  0.        ,  2.        ], dtype=float32)
    """
    return jax.nn.elu(as_inexact(x))


def selu(x: ArrayLike) -> Array:
    r"""$f(x) = \lambda x$ for $x > 0$, else $\lambda \alpha (e^x - 1)$, with the two constants of
    Klambauer et al. (2017, arXiv:1706.02515).

    >>> import jax.numpy as jnp
    >>> selu(jnp.array([-1.0, 0.0, 2.0]))
    Array([-1.1113307,  0.       ,  2.101402 ], dtype=float32)
    """
    return jax.nn.selu(as_inexact(x))


def gelu(x: ArrayLike) -> Array:
    r"""$f(x) = x \Phi(x)$ with the normal distribution function (arXiv:1606.08415).

    >>> f"{gelu(-1.0):.4f} {gelu(0.0):.4f} {gelu(2.0):.4f}"
    '-0.1587 0.0000 1.9545'
    """
    return _between_tails(lambda x: jax.nn.gelu(x, approximate=False), x, 40.0)


def gelu_tanh(x: ArrayLike) -> Array:
    r"""The tanh approximation of GELU:
    $f(x) = \tfrac{x}{2} (1 + \tanh(\sqrt{2/\pi}\,(x + 0.044715 x^3)))$ (arXiv:1606.08415).

    >>> import jax.numpy as jnp
    >>> gelu_tanh(jnp.array([-1.0, 0.0, 2.0]))
    Array([-0.15880796,  0.        ,  1.9545977 ], dtype=float32)
    """
    return _between_tails(jax.nn.gelu, x, 20.0)


def quick_gelu(x: ArrayLike) -> Array:
    r"""The sigmoid approximation of GELU: $f(x) = x\, \sigma(1.702 x)$ (arXiv:1606.08415).

    >>> import jax.numpy as jnp
    >>> quick_gelu(jnp.array([-1.0, 0.0, 2.0]))
    Array([-0.15420423,  0.        ,  1.9356586 ], dtype=float32)
    """
    return _between_tails(lambda x: x * jax.nn.sigmoid(1.702 * x), x, 800.0)


def silu(x: ArrayLike) -> Array:
    r"""SiLU or swish: $f(x) = x\, \sigma(x)$ (arXiv:1702.03118).

    >>> import jax.numpy as jnp
    >>> silu(jnp.array([-1.0, 0.0, 2.0]))
    Array([-0.26894143,  0.        ,  1.761594  ], dtype=float32)
    """
    return _between_tails(lambda x: x * jax.nn.sigmoid(x), x, 800.0)


def mish(x: ArrayLike) -> Array:
    r"""$f(x) = x \tanh(\ln(1 + e^x))$ (Misra 2019, arXiv:1908.08681).

    >>> import jax.numpy as jnp
    >>> mish(jnp.array([-1.0, 0.0, 2.0]))
    Array([-0.30340144,  0.        ,  1.943959  ], dtype=float32)
    """
    return _between_tails(lambda x: x * jnp.tanh(jax.nn.softplus(x)), x, 800.0)


def telu(x: ArrayLike) -> Array:
    r"""$f(x) = x \tanh(e^x)$ (Fernandez and Mali 2024, arXiv:2412.20269).

    >>> import jax.numpy as jnp
    >>> [f"{y:.4f}" for y in telu(jnp.array([-1.0, 0.0, 2.0]))]
    ['-0.3521', '0.0000', '2.0000']
    """
    # tanh(e^5) is 1 in every precision, and e^5 overflows in none.
    return _between_tails(lambda x: x * jnp.tanh(jnp.exp(jnp.minimum(x, 5.0))), x, 800.0)


def hard_tanh(x: ArrayLike) -> Array:
    r"""$f(x) = \min(\max(x, -1), 1)$; the derivative at $\pm 1$ is 1 (Collobert 2004).

    >>> import jax.numpy as jnp
    >>> hard_tanh(jnp.array([-1.0, 0.0, 2.0]))
    Array([-1.,  0.,  1.], dtype=float32)
    """
    return jax.nn.hard_tanh(as_inexact(x))


def hard_sigmoid(x: ArrayLike) -> Array:
    r"""$f(x) = \min(\max(x + 3, 0), 6) / 6$ (Howard et al. 2019, arXiv:1905.02244).

    >>> import jax.numpy as jnp
    >>> hard_sigmoid(jnp.array([-1.0, 0.0, 7.0]))
    Array([0.33333334, 0.5       , 1.        ], dtype=float32)
    """
    return jax.nn.hard_sigmoid(as_inexact(x))


def hard_silu(x: ArrayLike) -> Array:
    r"""$f(x) = x \min(\max(x + 3, 0), 6) / 6$ (Howard et al. 2019, arXiv:1905.02244).

    >>> import jax.numpy as jnp
    >>> hard_silu(jnp.array([-1.0, 0.0, 7.0]))
    Array([-0.33333334,  0.        ,  7.        ], dtype=float32)
    """
    return _between_tails(jax.nn.hard_silu, x, 8.0)


def soft_sign(x: ArrayLike) -> Array:
    r"""$f(x) = x / (1 + |x|)$ (Bergstra et al. 2009, technical report 1337, Montreal).

    >>> import jax.numpy as jnp
    >>> soft_sign(jnp.array([-1.0, 0.0, 2.0]))
    Array([-0.5      ,  0.       ,  0.6666667], dtype=float32)
    """
    x = as_inexact(x)
    finite = jnp.where(jnp.isinf(x), 0, x)
    return jnp.where(jnp.isinf(x), jnp.sign(x), jax.nn.soft_sign(finite))


@public
def sine(x: ArrayLike, omega_0: ArrayLike = 30.0) -> Array:
    r"""$f(x) = \sin(\omega_0 x)$ (Sitzmann et al. 2020, arXiv:2006.09661); 0 where
    the phase is infinite.

    >>> import jax.numpy as jnp
    >>> sine(jnp.array([-1.0, 0.0, 2.0]))
    Array([ 0.9880316,  0.       , -0.3048106], dtype=float32)
    """
    phase = omega_0 * as_inexact(x)
    return jnp.sin(jnp.where(jnp.isinf(phase), 0, phase))


def _between_tails(fn: Callable[[Array], Array], x: ArrayLike, cut: float) -> Array:
    """`fn` on [-cut, cut], 0 to the left and `x` to the right: its limits, reached by then.

    Keeps infinity times zero out of the value and of the gradient.
    """
    x = as_inexact(x)
    inside = jnp.abs(x) <= cut
    tails = jnp.where(x < 0, jnp.zeros_like(x), x)
    return jnp.where(inside, fn(jnp.where(inside, x, 0)), tails)
