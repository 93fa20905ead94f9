"""What is known while a function is traced, and what is not."""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def is_traced(x: Any) -> bool:
    """Whether the value of `x` is not known yet, because it is inside a transformation."""
    return isinstance(x, jax.core.Tracer)


def values_now(fn: Callable[[Array], Any], x: np.ndarray) -> Any:
    """`fn(x)` in numbers, whatever is being traced around it.

    Compiled: step by step, `vmap` would still take a function with a derivative rule of its own.
    """
    with jax.ensure_compile_time_eval():
        return jax.jit(lambda x: fn(x))(jnp.asarray(x))
