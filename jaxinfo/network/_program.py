"""A model as a straight line of primitive operations, and evaluation of any part of it.

`trace` turns a function into a `Program`: its jaxpr with calls inlined and values numbered. The
numbers let two uses of one cached inner jaxpr stay apart, and make "the part between two places" a
question about sets of integers.
"""

import dataclasses
import functools
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax.core
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from .._core import called

_CUSTOM_RULES = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")


@dataclasses.dataclass(frozen=True, eq=False)
class Op:
    """One primitive applied to values; an input is a value's number or a constant."""

    primitive: jex.Primitive
    params: Mapping[str, Any]
    inputs: tuple["int | Constant", ...]
    outputs: tuple[int, ...]
    scope: str

    @property
    def name(self) -> str:
        return self.primitive.name

    @property
    def values_in(self) -> tuple[int, ...]:
        return tuple(value for value in self.inputs if isinstance(value, int))


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """A literal in the program, such as the 0 in `max(x, 0)`."""

    value: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """Operations in order. Values `0 ... len(inputs) - 1` are the inputs, then the constants.

    Equal only to itself: a program is made once per model structure and shape (`structure_of` and
    `part` keep them), so that a jitted function with a program among its static arguments compiles
    once.
    """

    ops: tuple[Op, ...]
    shapes: tuple[jax.ShapeDtypeStruct, ...]
    n_inputs: int
    n_constants: int
    outputs: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Program({len(self.ops)} operations)"

    def shape(self, value: int | Constant) -> tuple[int, ...]:
        return self.shapes[value].shape if isinstance(value, int) else jnp.shape(value.value)

    @functools.cached_property
    def producer(self) -> dict[int, int]:
        """The operation that makes each value."""
        return {value: i for i, op in enumerate(self.ops) for value in op.outputs}

    @functools.cached_property
    def consumers(self) -> dict[int, tuple[int, ...]]:
        """The operations that read each value."""
        found: dict[int, list[int]] = {}
        for i, op in enumerate(self.ops):
            for value in set(op.values_in):
                found.setdefault(value, []).append(i)
        return {value: tuple(ops) for value, ops in found.items()}

    def reached_from(self, sources: Iterable[int]) -> frozenset[int]:
        """The values that depend on one of `sources`, these included."""
        reached = set(sources)
        for op in self.ops:
            if not reached.isdisjoint(op.values_in):
                reached.update(op.outputs)
        return frozenset(reached)

    def needed_for(self, target: int, given: Iterable[int]) -> tuple[int, ...]:
        """The operations that compute `target` from the inputs and `given` values, in order."""
        known, wanted, ops = set(given), {target}, []
        for i in range(len(self.ops) - 1, -1, -1):
            op = self.ops[i]
            made = wanted.intersection(op.outputs) - known
            if made:
                ops.append(i)
                wanted.update(op.values_in)
        return tuple(reversed(ops))

    def evaluate(
        self,
        target: int,
        leaves: Sequence[ArrayLike | None],
        given: Mapping[int, ArrayLike] | None = None,
    ) -> Array:
        """The value `target`, with `leaves` for inputs and constants, and some values `given`.

        `given` values replace what the program would compute: that is the intervention.
        """
        given = dict(given or {})
        known: dict[int, Any] = {**dict(enumerate(leaves)), **given}
        for i in self.needed_for(target, given):
            op = self.ops[i]
            operands = [known[v] if isinstance(v, int) else v.value for v in op.inputs]
            results = bind(op, operands)
            known.update((v, r) for v, r in zip(op.outputs, results, strict=True) if v not in given)
        return known[target]


@functools.lru_cache(maxsize=4096)
def part(program: Program, source: int, target: int) -> tuple[Program, tuple[int, ...]]:
    """What leads from one value to another, and which inputs and constants it reads besides.

    A program of its own, with the source as its first input, these as the others, and numbers
    of its own: parts that do the same, of one program or of two, are the same program. So what
    is compiled for one layer serves all layers of its shape.
    """
    steps = [program.ops[i] for i in program.needed_for(target, (source,))]
    read = [v for op in steps for v in op.values_in] + [target]
    first_made = program.n_inputs + program.n_constants
    others = tuple(dict.fromkeys(v for v in read if v < first_made and v != source))
    values = [source, *others, *(v for op in steps for v in op.outputs if v != source)]
    number = {value: i for i, value in enumerate(values)}
    # A source that is made along the way, together with a value that is needed, is not read.
    spare = len(values)
    ops = tuple(
        Op(
            op.primitive,
            op.params,
            tuple(number[v] if isinstance(v, int) else v for v in op.inputs),
            tuple(spare if v == source else number[v] for v in op.outputs),
            "",
        )
        for op in steps
    )
    shapes = tuple(program.shapes[value] for value in (*values, source))
    return _the_one(Program(ops, shapes, 1 + len(others), 0, (number[target],))), others


_parts: weakref.WeakValueDictionary[Any, Program] = weakref.WeakValueDictionary()


def _the_one(program: Program) -> Program:
    """The first of all programs that do the same, where that can be told."""
    key = (
        tuple(
            (op.primitive, tuple(sorted(op.params.items())), *map(_key, op.inputs), op.outputs)
            for op in program.ops
        ),
        tuple((shape.shape, shape.dtype) for shape in program.shapes),
        program.n_inputs,
        program.outputs,
    )
    try:
        return _parts.setdefault(key, program)
    except TypeError:  # an option that cannot be hashed
        return program


def _key(value: "int | Constant") -> Any:
    if isinstance(value, int):
        return value
    number = np.asarray(value.value)
    return number.dtype, number.shape, number.tobytes()


def bind(op: Op, operands: Sequence[ArrayLike]) -> Sequence[Array]:
    """Apply the operation to operands."""
    params = op.primitive.get_bind_params(dict(op.params))
    # Older JAX returns the functions with derivative rules apart from the other parameters.
    subfuns, params = params if isinstance(params, tuple) else ((), params)
    results = op.primitive.bind(*subfuns, *operands, **params)
    return results if op.primitive.multiple_results else [results]


def trace(fn: Callable[..., Any], *args: Any) -> tuple[Program, list[Array]]:
    """The program of `fn(*args)` and the constants it closes over; inputs are the leaves of args.

    `args` may hold `jax.ShapeDtypeStruct` in place of arrays.
    """
    closed = jax.make_jaxpr(fn)(*args)
    shapes: list[jax.ShapeDtypeStruct] = []
    ops: list[Op] = []

    def new(var: Any) -> int:
        shapes.append(jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype))
        return len(shapes) - 1

    def walk(jaxpr: jex.Jaxpr, env: dict[Any, "int | Constant"], scope: str) -> None:
        def read(atom: Any) -> "int | Constant":
            return Constant(atom.val) if isinstance(atom, jex.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            place = f"{scope}/{eqn.source_info.name_stack}"
            inner = _inlined(eqn)
            if inner is not None:
                inputs = [read(atom) for atom in eqn.invars]
                inputs = inputs[len(inputs) - len(inner.jaxpr.invars) :]
                constants = [Constant(value) for value in inner.consts]
                inner_env: dict[Any, int | Constant] = {}
                inner_env.update(zip(inner.jaxpr.constvars, constants, strict=True))
                inner_env.update(zip(inner.jaxpr.invars, inputs, strict=True))
                walk(inner.jaxpr, inner_env, place)
                for var, atom in zip(eqn.outvars, inner.jaxpr.outvars, strict=True):
                    is_literal = isinstance(atom, jex.Literal)
                    env[var] = Constant(atom.val) if is_literal else inner_env[atom]
            else:
                inputs = tuple(read(atom) for atom in eqn.invars)
                outputs = tuple(new(var) for var in eqn.outvars)
                ops.append(Op(eqn.primitive, eqn.params, inputs, outputs, place))
                env.update(zip(eqn.outvars, outputs, strict=True))

    env: dict[Any, int | Constant] = {}
    for var in (*closed.jaxpr.invars, *closed.jaxpr.constvars):
        env[var] = new(var)
    walk(closed.jaxpr, env, "")
    # An output that is a constant carries no information from the input; it is left out.
    outputs = (env[atom] for atom in closed.jaxpr.outvars if not isinstance(atom, jex.Literal))
    program = Program(
        tuple(ops),
        tuple(shapes),
        len(closed.jaxpr.invars),
        len(closed.jaxpr.constvars),
        tuple(value for value in outputs if isinstance(value, int)),
    )
    return program, [jnp.asarray(value) for value in closed.consts]


def _inlined(eqn: jex.JaxprEqn) -> jex.ClosedJaxpr | None:
    """The jaxpr to put in place of a call, or `None` to keep the operation as it is.

    A function with a derivative rule of its own (`jax.nn.relu`) is kept whole, so that the rule
    stays in force, unless parameters may meet data inside it.
    """
    inner = called(eqn)
    if inner is not None and eqn.primitive.name in _CUSTOM_RULES:
        return None if is_elementwise_jaxpr(inner.jaxpr) else inner
    return inner


# Applied entry by entry, so that an output entry depends on the same entry of each input.
ELEMENTWISE = frozenset(
    """abs acos acosh add and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp
    convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor
    ge gt imag integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter
    not or polygamma pow real reduce_precision rem round rsqrt select_n shift_left
    shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh
    xor optimization_barrier""".split()
)


def is_elementwise_jaxpr(jaxpr: jex.Jaxpr) -> bool:
    """Whether everything in it is elementwise, calls included."""
    for eqn in jaxpr.eqns:
        inner = called(eqn)
        if inner is not None:
            if not is_elementwise_jaxpr(inner.jaxpr):
                return False
        elif eqn.primitive.name not in ELEMENTWISE and not _broadcasts_scalar(eqn):
            return False
    return True


def _broadcasts_scalar(eqn: jex.JaxprEqn) -> bool:
    aval = eqn.invars[0].aval
    scalar = isinstance(aval, jax.core.ShapedArray) and aval.shape == ()
    return scalar and eqn.primitive.name == "broadcast_in_dim"


def is_elementwise(op: Op) -> bool:
    """Whether an output entry depends on the same entry of each input alone."""
    if op.name in _CUSTOM_RULES:
        return True  # those that are not were inlined
    return op.name in ELEMENTWISE
