"""An elementwise function as what its program computes from one number."""

import contextlib
import dataclasses
import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._core import called, is_traced

_LENGTH = 3  # of the array that a function is traced with

# Applied entry by entry.
_ELEMENTWISE = frozenset(
    """abs acos acosh add and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp cos
    cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma
    log log1p logistic lt max min mul ne neg nextafter not or pow rem round rsqrt select_n sign sin
    sinh sqrt square sub tan tanh xor""".split()
)
# Where an entry stands, and to how many digits: nothing of what the function is.
_IDENTITIES = frozenset(
    """broadcast_in_dim copy copy_p optimization_barrier pad reduce_precision reshape
    sharding_constraint squeeze stop_gradient transpose""".split()
)
_ROUNDINGS = frozenset(("ceil", "floor", "round", "sign"))

Value = int | np.generic  # the number of a value, or a constant


class _NotElementwise(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation on numbers."""

    primitive: jex.Primitive
    params: Mapping[str, Any]
    inputs: tuple[Value, ...]

    @property
    def name(self) -> str:
        return self.primitive.name

    def __call__(self, *operands: Array) -> Array:
        """The operation in double precision."""
        if self.name == "convert_element_type":
            return operands[0].astype(self.params["new_dtype"])
        found = self.primitive.bind(*operands, **self.params)
        return found[0] if self.primitive.multiple_results else found


@dataclasses.dataclass(frozen=True, eq=False)
class Formula:
    """The steps from a number, value 0, to the result; step $i$ makes value $i + 1$.

    Calls are inlined, derivative rules are left out, and floating types count as one: a formula says
    what function a program computes, not to how many digits.
    """

    steps: tuple[Step, ...]
    result: Value
    dtypes: frozenset[np.dtype]
    """The floating types of the program."""

    def __call__(self, x: Array) -> tuple[Array, tuple[Array, ...]]:
        """The result for each entry of `x`, which sets the precision, and the *marks* on the way.

        A mark is a number that changes where the program begins to compute something else: signs,
        what is rounded, which of two is larger.
        """

        def read(value: Value) -> Array:
            if isinstance(value, int):
                return known[value]
            dtype = x.dtype if jnp.issubdtype(value.dtype, jnp.floating) else value.dtype
            return jnp.full(x.shape, np.asarray(value), dtype)

        known, marks = [x], [sign_or_nan(x)]
        for step in self.steps:
            operands = [read(value) for value in step.inputs]
            known.append(step(*operands))
            if step.name in ("max", "min", "clamp"):
                pairs = itertools.pairwise(operands)
                marks += [(a > b).astype(float) for a, b in pairs]
            is_whole = step.name in _ROUNDINGS or not _is_floating(known[-1])
            marks.append(known[-1].astype(float) if is_whole else sign_or_nan(known[-1]))
        return read(self.result).astype(x.dtype), tuple(marks)


def sign_or_nan(x: Array) -> Array:
    """The sign of a number, and 2 for NaN, which equals nothing."""
    return jnp.where(jnp.isnan(x), 2.0, jnp.sign(x))


def formula_of(fn: Callable[[Array], Array], dtype: Any = jnp.float32) -> Formula | None:
    """The formula of an elementwise function, or `None` if its program has loops or other operations."""
    closed = jax.make_jaxpr(lambda x: fn(x))(jax.ShapeDtypeStruct((_LENGTH,), dtype))
    reader = _Reader()
    try:
        results = reader.read(closed.jaxpr, [reader.constant(c) for c in closed.consts], [0])
    except _NotElementwise:
        return None
    return Formula(tuple(reader.steps), results[0], frozenset(reader.dtypes))


class _Reader:
    """Collects the steps of a program and of all that it calls."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.dtypes: set[np.dtype] = set()

    def constant(self, value: Any) -> np.generic:
        if is_traced(value):
            raise _NotElementwise
        value = np.asarray(value)
        if jnp.issubdtype(value.dtype, jnp.floating):
            value = value.astype(np.float64)
        if len(np.unique(value)) != 1:
            raise _NotElementwise  # another number for each entry
        return value.dtype.type(value.flat[0])

    def read(
        self, jaxpr: jex.Jaxpr, consts: Sequence[Value], inputs: Sequence[Value]
    ) -> list[Value]:
        known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *inputs), strict=True))

        def value(atom: Any) -> Value:
            return self.constant(atom.val) if isinstance(atom, jex.Literal) else known[atom]

        for eqn in jaxpr.eqns:
            known.update(
                zip(eqn.outvars, self._results(eqn, [*map(value, eqn.invars)]), strict=True)
            )
        return [value(atom) for atom in jaxpr.outvars]

    def _results(self, eqn: jex.JaxprEqn, inputs: list[Value]) -> list[Value]:
        inner = called(eqn)
        if inner is not None:
            consts = [self.constant(c) for c in inner.consts]
            return self.read(inner.jaxpr, consts, inputs[len(inputs) - len(inner.jaxpr.invars) :])
        name, dtype = eqn.primitive.name, _aval(eqn.outvars[0]).dtype
        if jnp.issubdtype(dtype, jnp.floating):
            self.dtypes.add(np.dtype(dtype))
        elif jnp.issubdtype(dtype, jnp.complexfloating):
            raise _NotElementwise
        if name in _IDENTITIES or (name == "slice" and _keeps_all(eqn)):
            return inputs[: len(eqn.outvars)]
        if name == "convert_element_type":
            if jnp.issubdtype(dtype, jnp.floating) and _is_floating(_aval(eqn.invars[0])):
                return inputs
            to = np.dtype(float) if jnp.issubdtype(dtype, jnp.floating) else dtype
            return [self._add(eqn.primitive, {"new_dtype": to}, inputs)]
        if name not in _ELEMENTWISE:
            raise _NotElementwise
        return [self._add(eqn.primitive, eqn.params, inputs)]

    def _add(self, primitive: Any, params: Mapping[str, Any], inputs: list[Value]) -> Value:
        step = Step(primitive, params, tuple(inputs))
        if not any(isinstance(value, int) for value in inputs):
            with in_double():
                return self.constant(step(*map(jnp.asarray, inputs)))
        self.steps.append(step)
        return len(self.steps)


def _aval(value: Any) -> Any:
    return value.aval


def _is_floating(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def _keeps_all(eqn: jex.JaxprEqn) -> bool:
    """Whether a slice cuts off no more than was filled up before."""
    starts, strides = eqn.params["start_indices"], eqn.params["strides"]
    whole = not any(starts) and (strides is None or set(strides) <= {1})
    return whole and _aval(eqn.outvars[0]).size >= _LENGTH


@contextlib.contextmanager
def in_double() -> Iterator[None]:
    """Double precision, and numbers now, for what is computed inside, whatever the setting outside."""
    # A name of its own since JAX 0.8; before, under `experimental`.
    if hasattr(jax, "enable_x64"):
        context = jax.enable_x64
    else:
        context = importlib.import_module("jax.experimental").enable_x64
    with context(True), jax.ensure_compile_time_eval():
        yield
