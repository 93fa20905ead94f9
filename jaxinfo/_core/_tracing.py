"""What is known while a function is traced, and what is not."""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex
from jaxtyping import Array

_CALLS = {  # primitives that only call a jaxpr, by the parameter that holds it
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}


def is_traced(x: Any) -> bool:
    """Whether the value of `x` is not known yet, because it is inside a transformation."""
    return isinstance(x, jax.core.Tracer)


def values_now(fn: Callable[[Array], Any], x: np.ndarray) -> Any:
    """`fn(x)` in numbers, whatever is being traced around it.

    Compiled: step by step, `vmap` would still take a function with a derivative rule of its own.
    """
    with jax.ensure_compile_time_eval():
        return jax.jit(lambda x: fn(x))(jnp.asarray(x))


def called(eqn: jex.JaxprEqn) -> jex.ClosedJaxpr | None:
    """The program that an operation only calls, or `None` for an operation that does more.

    Of what is written in one way for each platform it is the way that is written for all others.
    """
    platforms = eqn.params.get("branches_platforms") or ()
    if None in platforms:
        return eqn.params["branches"][platforms.index(None)]
    inner = eqn.params.get(_CALLS.get(eqn.primitive.name, ""))
    # Asked in this order: since JAX 0.12 each jaxpr is a closed one, with constants of its own.
    if inner is None or isinstance(inner, jex.ClosedJaxpr):
        return inner
    return jex.ClosedJaxpr(inner, ())
