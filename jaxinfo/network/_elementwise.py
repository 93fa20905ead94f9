"""The elementwise functions inside a program: where they begin and end, and what they are.

All that depends on one value alone, entry by entry, is the largest set of operations that could be
its activation. It is one if everything else sees that set through a single value.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..activations import Activation, as_activation, recognise
from ._program import Constant, Program, is_elementwise


def exits(
    program: Program, pre: int, data: frozenset[int], *, learned: bool = False
) -> tuple[set[int], bool]:
    """Where the set of elementwise functions of `pre` alone is left; whether parameters are in it.

    If all that leaves the set leaves it through one value, that value is the layer's output. With
    `learned`, the parameters need not be one number for all entries.
    """
    region, leaving = {pre}, set()
    parametric = False
    for op in program.ops:
        inside = region.intersection(op.values_in)
        if not inside:
            continue
        others = [v for v in op.inputs if v not in region]
        same_shape = all(program.shape(v) == program.shape(pre) for v in op.outputs)
        if (
            is_elementwise(op)
            and same_shape
            and all(v not in data and (learned or is_uniform(program, v, data)) for v in others)
        ):
            region.update(op.outputs)
            parametric |= any(_from_parameters(program, v) for v in others)
        else:
            leaving.update(inside)
    leaving.update(region.intersection(program.outputs))
    return leaving, parametric


def _from_parameters(program: Program, value: int | Constant) -> bool:
    if not isinstance(value, int):
        return False
    if value not in program.producer:
        return True
    return any(_from_parameters(program, v) for v in program.ops[program.producer[value]].inputs)


def is_uniform(program: Program, value: int | Constant, data: frozenset[int]) -> bool:
    """Whether a value not reached by data is one number, possibly repeated."""
    if math.prod(program.shape(value)) == 1:
        return True
    if not isinstance(value, int) or value not in program.producer or value in data:
        return False
    op = program.ops[program.producer[value]]
    if op.name == "broadcast_in_dim" or is_elementwise(op):
        return all(is_uniform(program, v, data) for v in op.inputs)
    return False


def learned_exit(program: Program, pre: int, data: frozenset[int]) -> int | None:
    """The one value through which a learned elementwise function of `pre` is seen, if there is one.

    Its parameters may differ from entry to entry, as the slopes of a PReLU do. It reads `pre` more
    than once: what reads it once is a bias or a scale.
    """
    leaving, parametric = exits(program, pre, data, learned=True)
    twice = len(program.consumers.get(pre, ())) > 1
    one = len(leaving) == 1 and pre not in leaving
    return leaving.pop() if parametric and twice and one else None


def acts_on_one(program: Program, value: int, data: frozenset[int]) -> bool:
    """Whether a value is an elementwise function of one other value, of the same shape."""
    op = program.ops[program.producer[value]]
    operands = [v for v in set(op.values_in) if v in data]
    return (
        is_elementwise(op)
        and len(operands) == 1
        and program.shape(operands[0]) == program.shape(value)
        and all(
            v == operands[0] or (v not in data and is_uniform(program, v, data)) for v in op.inputs
        )
    )


def function_between(program: Program, pre: int, output: int) -> Activation:
    """The elementwise function between two values: a known one if it has the same values."""
    function = ElementwiseRegion(program, pre, output)
    return recognise(function) or as_activation(function)


@dataclasses.dataclass(frozen=True, eq=False)
class ElementwiseRegion:
    """The function between two values of a program, elementwise, on arrays of any shape.

    The parameters of a learned one are held near a number, `parameters`.
    """

    program: Program
    start: int
    end: int
    parameters: float | None = None

    __name__ = "elementwise"

    def __call__(self, x: Array) -> Array:
        # The program knows one shape only: cut the entries into pieces of that shape.
        program, like = self.program, self.program.shapes[self.start]
        flat = jnp.ravel(x)
        pieces = jnp.pad(flat, (0, -flat.size % math.prod(like.shape))).reshape(-1, *like.shape)
        read = {
            v for i in program.needed_for(self.end, (self.start,)) for v in program.ops[i].values_in
        }
        leaves = [
            self._stand_in(i) if i in read else None
            for i in range(program.n_inputs + program.n_constants)
        ]
        values = jax.vmap(lambda z: program.evaluate(self.end, leaves, {self.start: z}))(
            pieces.astype(like.dtype)
        )
        if not jnp.issubdtype(values.dtype, jnp.inexact):
            values = values.astype(flat.dtype)  # a gate: true is 1
        return jnp.ravel(values)[: flat.size].reshape(jnp.shape(x))

    def _stand_in(self, leaf: int) -> Array | None:
        like = self.program.shapes[leaf]
        if self.parameters is None or not jnp.issubdtype(like.dtype, jnp.number):
            return None
        # No two alike, as what depends on two may not depend on both being the same.
        value = self.parameters + leaf * 0.618 % 1 / 4
        return jnp.full(like.shape, value).astype(like.dtype)
