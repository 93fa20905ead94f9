"""Elementary functions whose value and gradient stay finite where the formula is a limit."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact, Int, Integer


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
    info = jnp.finfo(x.dtype)
    far = 2.0 ** (info.maxexp // 4)
    # Most platforms take a subnormal number for 0: its digits are read as the whole number they are.
    bits = jax.lax.bitcast_convert_type(x, f"int{info.bits}")
    digits = (bits & (2**info.nmant - 1)).astype(x.dtype)
    subnormal = (jnp.abs(x) < info.tiny) & (digits > 0)
    raised = jnp.where(bits < 0, -digits, digits) * (far * float(info.smallest_subnormal))
    return jnp.where(largest > 1, x / far, jnp.where(subnormal, raised, x * far))


def power_of_two(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The power of two at or below `x`, within those that have a reciprocal; 1 for 0 and below."""
    info = jnp.finfo(x.dtype)
    bits = jax.lax.bitcast_convert_type(x, f"int{info.bits}")
    power = jax.lax.bitcast_convert_type(bits >> info.nmant << info.nmant, x.dtype)
    return jnp.where(x > 0, jnp.minimum(power, 2.0 ** (info.maxexp - 2)), 1)


def at_unit_size(
    f: Callable[[Inexact[Array, "..."]], Float[Array, "..."]],
    x: Inexact[Array, "..."],
    axis: Axis = None,
) -> Float[Array, "..."]:
    """`f(x)` for an `f` that grows in proportion to `x`: no square in it over- or underflows.

    Exact, and differentiable as `f` is. With an `axis`, `f` has to keep it, with length 1.
    """
    size = jnp.abs(jax.lax.stop_gradient(x))
    scale = power_of_two(jnp.max(size, axis=axis, keepdims=axis is not None, initial=0))
    return f(x * (1 / scale)) * scale


def over_largest(x: Float[Array, "..."], axis: Axis = None) -> Float[Array, "..."]:
    """`x` over the largest size along `axis`, or 0 where all is 0: then no square overflows.

    For what does not change with the scale of `x`: no gradient passes through the largest size.
    """
    # XLA divides by a broadcast number with its reciprocal, which underflows for the largest ones.
    x = moderate(x, axis)
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(x)), axis=axis, keepdims=True, initial=0)
    return safe_divide(x, largest)


def as_inexact(x: ArrayLike) -> Inexact[Array, "..."]:
    """`x` as an array of floating (or complex) numbers: integers and booleans become floats.

    For what is done entry by entry, in the precision of the entries.
    """
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "iu":
        x = x.astype(float)  # by NumPy: of long integers JAX would keep the low half
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(float)


def as_real(x: ArrayLike) -> Float[Array, "..."]:
    """`x` as an array of real numbers wide enough to be added, squared and subtracted.

    The gate for the arrays of users, wherever entries are put together: integers and booleans of
    any width become the default floats (which with 64 bits hold any count), half precision becomes
    single, single and double stay.

    **Raises:** `TypeError` for complex numbers.
    """
    x = as_inexact(x)
    if jnp.iscomplexobj(x):
        raise TypeError(f"Expected real numbers; got {x.dtype} of shape {x.shape}.")
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def number_of_bin(x: Integer[ArrayLike, "..."], bins: int) -> Int[Array, "..."]:
    """`x` in int32, and `bins` for what is not one of `0 ... bins - 1`, however wide its type."""
    x = jnp.asarray(x)
    x = x.astype(jnp.int32) if x.dtype.itemsize < 4 else x
    return jnp.where((x >= 0) & (x < bins), x, bins).astype(jnp.int32)


def nan_where(unknown: Bool[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x`, and NaN where it is `unknown`: what is compared, counted or ranked forgets a NaN."""
    return jnp.where(unknown, jnp.nan, x)
