"""Elementary functions whose value and gradient stay finite where the formula is a limit."""

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


def as_inexact(x: ArrayLike) -> Inexact[Array, "..."]:
    """`x` as an array of floating (or complex) numbers: integers and booleans become floats."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(float)
