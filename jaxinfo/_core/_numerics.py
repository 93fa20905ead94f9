"""Elementary functions whose value and gradient stay finite where the formula is a limit."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Inexact


def xlog2x(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$x \log_2 x$ with $0 \log 0 := 0$, in bits.

    The gradient at 0 is 0: the true one-sided limit is $-\infty$, and what is summed over the cells
    of a histogram leaves out an empty cell's own infinite term. NaN for negative `x` and for NaN.
    """
    nonzero = x != 0
    # Two `where`: the inner one keeps the infinite derivative of the logarithm out of the chain.
    return jnp.where(nonzero, x * jnp.log2(jnp.where(nonzero, x, 1)), 0)


def safe_divide(
    x: Float[Array, "*shape"], y: Float[Array, "*#shape"], *, at_zero: float = 0.0
) -> Float[Array, "*shape"]:
    """`x / y`, and `at_zero` (with zero gradient) where `y` is 0."""
    nonzero = y != 0
    return jnp.where(nonzero, x / jnp.where(nonzero, y, 1), at_zero)


Axis = int | tuple[int, ...] | None


def moderate(x: Float[Array, "..."], axis: Axis = None) -> Float[Array, "..."]:
    """`x` times one power of two along `axis` that leads away from overflow and underflow.

    Exact, unlike a division. For what does not change with the scale of `x`.
    """
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(x)), axis=axis, keepdims=True, initial=0)
    far = 2.0 ** (jnp.finfo(x.dtype).maxexp // 4)
    return x * jnp.where(largest > 1, 1 / far, far).astype(x.dtype)


def over_largest(x: Float[Array, "..."], axis: Axis = None) -> Float[Array, "..."]:
    """`x` over the largest size along `axis`, or 0 where all is 0: then no square overflows.

    For what does not change with the scale of `x`: no gradient passes through the largest size.
    """
    # XLA divides by a broadcast number with its reciprocal, which underflows for the largest ones.
    x = moderate(x, axis)
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(x)), axis=axis, keepdims=True, initial=0)
    return safe_divide(x, largest)


def as_inexact(x: ArrayLike) -> Inexact[Array, "..."]:
    """`x` as an array of floating (or complex) numbers: integers and booleans become floats."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(float)
