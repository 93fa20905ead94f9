"""An exported torch program as plain records, and its evaluation with JAX.

Nothing here knows of torch. A program is evaluated in one of two ways. For a batch, each operator
gets what torch would give it. For a single example, every value that carries the batch axis is kept
without it: an operator that can do without the axis is applied as it is, any other gets it back as
an axis of size one for the time of its call. So what is traced for one example is the program a JAX
user would have written for one example, which is what `topology_of` reads.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._places import POOL_SCOPE
from ._table import OPERATORS, Operator


@dataclasses.dataclass(frozen=True)
class Ref:
    """The value of that name."""

    name: str


@dataclasses.dataclass(frozen=True)
class Spec:
    """An array as torch declares it; a size that depends on the batch's is `None`."""

    shape: tuple[int | None, ...]
    dtype: np.dtype
    batch_axis: int | None
    """The axis whose size is exactly the batch size, if there is one such axis."""


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One operator applied to values; `specs` holds one entry for each array it returns."""

    name: str
    operator: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    scope: str
    specs: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A program. `parameters` and `constants` name values that are given besides the inputs."""

    nodes: tuple[Node, ...]
    inputs: tuple[tuple[Any, ...], Mapping[str, Any]]
    """Positional and keyword arguments, with a `Ref` for each array."""
    outputs: Any
    specs: Mapping[str, Any]
    parameters: Mapping[str, str]
    """The path in the state dict of each value that is a parameter or a buffer."""
    constants: Mapping[str, np.ndarray]
    names: tuple[str, ...] = ()
    """The names of all inputs, positional ones first, in the order in which torch takes them."""
    wide: tuple[str, ...] = ()
    """The places where whole numbers are read that 32 bits may not hold."""

    @property
    def batched(self) -> bool:
        """Whether the size of a batch axis was left free."""
        return any(self.specs[ref.name].batch_axis is not None for ref in refs(self.inputs))


def refs(structure: Any) -> Iterator[Ref]:
    """The references in nested tuples, lists and dictionaries, in order."""
    if isinstance(structure, Ref):
        yield structure
    elif isinstance(structure, tuple | list):
        for item in structure:
            yield from refs(item)
    elif isinstance(structure, Mapping):
        for item in structure.values():
            yield from refs(item)


def substitute(structure: Any, value_of: Callable[[Ref], Any]) -> Any:
    """The structure with every reference replaced."""
    if isinstance(structure, Ref):
        return value_of(structure)
    if isinstance(structure, tuple):
        return tuple(substitute(item, value_of) for item in structure)
    if isinstance(structure, list):
        return [substitute(item, value_of) for item in structure]
    if isinstance(structure, Mapping):
        return {key: substitute(item, value_of) for key, item in structure.items()}
    return structure


def evaluate(
    graph: Graph, given: Mapping[str, Array], *, single: bool
) -> tuple[Any, dict[str, Any]]:
    """The outputs, and every value by name, from the values of inputs and parameters.

    With `single`, inputs and outputs are those of one example, without a batch axis.
    """
    # A mask stays with NumPy, as what it selects has a shape that JAX must know.
    constants = {
        name: value if value.dtype == bool else jnp.asarray(value)
        for name, value in graph.constants.items()
    }
    values: dict[str, Any] = {**constants, **given}
    for node in graph.nodes:
        operator = OPERATORS[node.operator]
        scope = POOL_SCOPE + node.scope if operator.pool and node.scope else node.scope
        with jax.named_scope(scope or "model"):
            values[node.name] = _apply(node, operator, graph.specs, values, single)
    return substitute(graph.outputs, lambda ref: values[ref.name]), values


def _apply(
    node: Node, operator: Operator, specs: Mapping[str, Any], values: dict[str, Any], single: bool
) -> Any:
    if node.operator == "operator.getitem":
        source, index = node.args
        return values[source.name][index]
    operands = [specs.get(ref.name) for ref in refs((node.args, node.kwargs))]
    drop = single and any(_batch_axis(spec) is not None for spec in operands)

    def plain(ref: Ref) -> Any:
        return values[ref.name]

    def with_axis(ref: Ref) -> Any:
        axis = _batch_axis(specs.get(ref.name))
        value = plain(ref)
        if operator.shape_only and not isinstance(value, int | float | bool):
            shape = list(value.shape)
            if drop and axis is not None:
                shape.insert(axis, 1)
            return jax.ShapeDtypeStruct(tuple(shape), value.dtype)
        return value if axis is None or not drop else jnp.expand_dims(value, axis)

    def aligned(ref: Ref) -> Any:
        # An operand without a batch, broadcast against one, loses its own axis of size one.
        value, spec = plain(ref), specs.get(ref.name)
        if isinstance(spec, Spec) and spec.batch_axis is None:
            return value[0] if len(spec.shape) == len(node.specs.shape) else value
        return value

    if drop and operator.pointwise and _is_aligned(node, operands):
        result = operator.fn(*substitute(node.args, aligned), **substitute(node.kwargs, aligned))
        return _cast(result, node.specs)
    if drop and operator.unbatched:
        result = operator.fn(*substitute(node.args, plain), **substitute(node.kwargs, plain))
        return _cast(result, node.specs)
    if drop and operator.single is not None and _is_leading(node, operands):
        result = operator.single(*substitute(node.args, plain), **substitute(node.kwargs, plain))
        return _cast(result, node.specs)
    result = operator.fn(*substitute(node.args, with_axis), **substitute(node.kwargs, with_axis))
    result = _cast(result, node.specs)
    return _without_axis(result, node.specs) if single else result


def _batch_axis(spec: Any) -> int | None:
    return spec.batch_axis if isinstance(spec, Spec) else None


def _is_leading(node: Node, operands: list[Any]) -> bool:
    """Whether the batch axis is the first one of what has one, results included."""
    results = node.specs if isinstance(node.specs, tuple) else (node.specs,)
    return _batch_axis(results[0]) == 0 and all(_batch_axis(s) in (None, 0) for s in operands)


def _is_aligned(node: Node, operands: list[Any]) -> bool:
    """Whether the first axis of everything of full rank is the batch, or of size one."""
    if not isinstance(node.specs, Spec) or not _is_leading(node, operands):
        return False
    for spec in operands:
        if isinstance(spec, Spec):
            full = len(spec.shape) == len(node.specs.shape)
            if full != (spec.batch_axis == 0) and not (full and spec.shape[0] == 1):
                return False
    return True


def _cast(result: Any, spec: Any) -> Any:
    """The result in the dtype that torch declares."""
    if isinstance(spec, Spec):
        dtype = jax.dtypes.canonicalize_dtype(spec.dtype)
        result = jnp.asarray(result)
        if jnp.issubdtype(result.dtype, jnp.floating) and dtype.kind in "iu" and dtype.itemsize < 4:
            result = result.astype(
                jnp.int32
            )  # whose last bits torch keeps; JAX ends at the largest
        return result if result.dtype == dtype else result.astype(dtype)
    if isinstance(spec, tuple):
        return tuple(_cast(item, s) for item, s in zip(result, spec, strict=True))
    return result


def _without_axis(result: Any, spec: Any) -> Any:
    if isinstance(spec, tuple):
        return tuple(_without_axis(item, s) for item, s in zip(result, spec, strict=True))
    axis = _batch_axis(spec)
    return result if axis is None else jnp.squeeze(result, axis)
