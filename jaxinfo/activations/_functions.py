"""The elementwise functions themselves.

All take arrays of any shape and floating dtype, and none is NaN at infinity or where a power
overflows, neither in value nor in derivative.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike


def identity(x: ArrayLike) -> Array:
    """$f(x) = x$."""
    return jnp.asarray(x)


def relu(x: ArrayLike) -> Array:
    r"""$f(x) = \max(0, x)$; the derivative at 0 is 0."""
    return jax.nn.relu(x)


def relu6(x: ArrayLike) -> Array:
    r"""$f(x) = \min(\max(0, x), 6)$; the derivative at 0 and at 6 is 0."""
    return jax.nn.relu6(x)


def lrelu(x: ArrayLike) -> Array:
    r"""Leaky ReLU: $f(x) = x$ for $x \ge 0$, else $0.01 x$; the derivative at 0 is 1."""
    return jax.nn.leaky_relu(x)


def tanh(x: ArrayLike) -> Array:
    r"""$f(x) = \tanh x$."""
    return jnp.tanh(x)


def sigmoid(x: ArrayLike) -> Array:
    r"""$f(x) = 1 / (1 + e^{-x})$."""
    return jax.nn.sigmoid(x)


def softplus(x: ArrayLike) -> Array:
    r"""$f(x) = \ln(1 + e^x)$."""
    return jax.nn.softplus(x)


def log_sigmoid(x: ArrayLike) -> Array:
    r"""$f(x) = -\ln(1 + e^{-x})$."""
    return -jax.nn.softplus(-jnp.asarray(x))


def elu(x: ArrayLike) -> Array:
    """$f(x) = x$ for $x > 0$, else $e^x - 1$ (Clevert et al. 2015, arXiv:1511.07289)."""
    return jax.nn.elu(x)


def selu(x: ArrayLike) -> Array:
    r"""$f(x) = \lambda x$ for $x > 0$, else $\lambda \alpha (e^x - 1)$, with the two constants of
    Klambauer et al. (2017, arXiv:1706.02515)."""
    return jax.nn.selu(x)


def gelu(x: ArrayLike) -> Array:
    r"""$f(x) = x \Phi(x)$ with the normal distribution function (arXiv:1606.08415)."""
    return _between_tails(lambda x: jax.nn.gelu(x, approximate=False), x, 40.0)


def gelu_tanh(x: ArrayLike) -> Array:
    r"""The tanh approximation of GELU:
    $f(x) = \tfrac{x}{2} (1 + \tanh(\sqrt{2/\pi}\,(x + 0.044715 x^3)))$ (arXiv:1606.08415)."""
    return _between_tails(jax.nn.gelu, x, 20.0)


def quick_gelu(x: ArrayLike) -> Array:
    r"""The sigmoid approximation of GELU: $f(x) = x\, \sigma(1.702 x)$ (arXiv:1606.08415)."""
    return _between_tails(lambda x: x * jax.nn.sigmoid(1.702 * x), x, 800.0)


def silu(x: ArrayLike) -> Array:
    r"""SiLU or swish: $f(x) = x\, \sigma(x)$ (arXiv:1702.03118)."""
    return _between_tails(lambda x: x * jax.nn.sigmoid(x), x, 800.0)


def mish(x: ArrayLike) -> Array:
    r"""$f(x) = x \tanh(\ln(1 + e^x))$ (Misra 2019, arXiv:1908.08681)."""
    return _between_tails(lambda x: x * jnp.tanh(jax.nn.softplus(x)), x, 800.0)


def telu(x: ArrayLike) -> Array:
    r"""$f(x) = x \tanh(e^x)$ (Fernandez and Mali 2024, arXiv:2412.20269)."""
    # tanh(e^5) is 1 in every precision, and e^5 overflows in none.
    return _between_tails(lambda x: x * jnp.tanh(jnp.exp(jnp.minimum(x, 5.0))), x, 800.0)


def hard_tanh(x: ArrayLike) -> Array:
    r"""$f(x) = \min(\max(x, -1), 1)$; the derivative at $\pm 1$ is 1."""
    return jax.nn.hard_tanh(x)


def hard_sigmoid(x: ArrayLike) -> Array:
    r"""$f(x) = \min(\max(x + 3, 0), 6) / 6$."""
    return jax.nn.hard_sigmoid(x)


def hard_silu(x: ArrayLike) -> Array:
    r"""$f(x) = x \min(\max(x + 3, 0), 6) / 6$ (Howard et al. 2019, arXiv:1905.02244)."""
    return _between_tails(jax.nn.hard_silu, x, 8.0)


def soft_sign(x: ArrayLike) -> Array:
    r"""$f(x) = x / (1 + |x|)$."""
    x = jnp.asarray(x)
    finite = jnp.where(jnp.isinf(x), 0, x)
    return jnp.where(jnp.isinf(x), jnp.sign(x), jax.nn.soft_sign(finite))


def sine(x: ArrayLike, omega_0: ArrayLike = 30.0) -> Array:
    r"""$f(x) = \sin(\omega_0 x)$ (Sitzmann et al. 2020, arXiv:2006.09661); 0 at infinity."""
    x = jnp.asarray(x)
    finite = jnp.where(jnp.isinf(x), 0, x)
    return jnp.sin(omega_0 * finite)


def heaviside(x: ArrayLike) -> Array:
    r"""$f(x) = 1$ for $x \ge 0$, else 0: threshold neurons fire at their threshold.

    Its derivative is 0; `d_heaviside` is the straight-through estimate.
    """
    return threshold(x, 0.0)


def threshold(x: ArrayLike, thr: ArrayLike = 1.0) -> Array:
    r"""$f(x) = 1$ for $x \ge$ `thr`, else 0.

    Its derivative is 0; `d_threshold` is the straight-through estimate.
    """
    x = _inexact(x)
    return (x >= thr).astype(x.dtype)


def spike(x: ArrayLike) -> Array:
    """$f(x) = 1$ for $x > 0$, else 0: `heaviside` but for 0 itself."""
    x = _inexact(x)
    return (x > 0).astype(x.dtype)


def sign(x: ArrayLike) -> Array:
    """$f(x) = -1, 0, 1$ for negative, zero and positive $x$."""
    return jnp.sign(x)


def _inexact(x: ArrayLike) -> Array:
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(float)


def _between_tails(fn: Callable[[Array], Array], x: ArrayLike, cut: float) -> Array:
    """`fn` on [-cut, cut], 0 to the left and `x` to the right: its limits, reached by then.

    Keeps infinity times zero out of the value and of the gradient.
    """
    x = _inexact(x)
    inside = jnp.abs(x) <= cut
    tails = jnp.where(x < 0, jnp.zeros_like(x), x)
    return jnp.where(inside, fn(jnp.where(inside, x, 0)), tails)
