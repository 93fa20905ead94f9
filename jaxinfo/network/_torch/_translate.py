"""From an exported torch program to the records of `_graph`."""

import dataclasses
import importlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._core import require
from ._graph import Graph, Node, Ref, Spec, refs
from ._integers import is_whole, past_32_bits, wrapped
from ._table import OPERATORS, refuse_unknown
from ._tensors import numpy_dtype, to_numpy

# Checks that torch records beside the computation, and that return nothing.
_CHECKS = frozenset(
    """aten._assert_scalar.default aten._assert_async.msg aten._assert_async.default
    aten._assert_tensor_metadata.default aten.sym_constrain_range.default
    aten.sym_constrain_range_for_size.default aten._linalg_check_errors.default""".split()
)

# Where torch computes positions beside maxima and nobody reads them.
_VALUES_ONLY = {
    f"aten.{name}{n}d{with_indices}.default": f"aten.{name}{n}d.values"
    for name, with_indices in (("max_pool", "_with_indices"), ("adaptive_max_pool", ""))
    for n in (1, 2, 3)
}

# How and where memory lies has no counterpart.
_MEMORY = frozenset(
    ("device", "layout", "pin_memory", "memory_format", "non_blocking", "requires_grad")
)


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported program in core operators, and its translation."""

    program: Any
    graph: Graph


def translate(program: Any, batch_axis: int | None) -> Exported:
    """A program in core operators, written down without torch.

    **Raises:** `UnsupportedOperators` listing every operator that the table lacks.
    """
    torch = require("torch", extra="torch")
    signature = program.graph_signature
    # What it writes to its inputs is a value like any other, which the caller does not get to see.
    if signature.buffers_to_mutate:
        raise NotImplementedError(
            "The model writes to its own state while it runs: "
            f"{sorted({*signature.buffers_to_mutate.values()})}. Import a model without that, such "
            "as one in evaluation mode and without a cache."
        )
    graph = _Translation(torch, program, batch_axis).graph()
    return Exported(program, dataclasses.replace(graph, wide=past_32_bits(graph)))


def is_free(size: Any) -> bool:
    """Whether a size is a symbol that stands for any number."""
    torch = require("torch", extra="torch")
    return isinstance(size, torch.SymInt) and size.node.maybe_as_int() is None


def is_known(operator: str) -> bool:
    """Whether an operator has a counterpart, or needs none."""
    return operator in OPERATORS or operator in _CHECKS or operator in _VALUES_ONLY


class _Translation:
    """One pass over an exported program."""

    def __init__(self, torch: Any, program: Any, batch_axis: int | None):
        self.torch = torch
        self.program = program
        self.module = program.graph_module
        self.nodes: list[Node] = []
        self.specs: dict[str, Any] = {}
        self.known: dict[Any, Any] = {}
        self.uses: list[tuple[str, str]] = []
        self.sized_by_data: list[tuple[str, str]] = []
        self.settled: set[Any] = set()  # symbols for sizes that depend on constants alone
        self.batch = self._batch_symbols(batch_axis)

    def graph(self) -> Graph:
        signature, state = self.program.graph_signature, self.program.state_dict
        outputs = self._walk()
        refuse_unknown(self.uses, self.sized_by_data)
        lifted = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        read = {ref.name for node in self.nodes for ref in refs((node.args, node.kwargs))}
        read |= {ref.name for ref in refs(outputs)}
        constants = {
            node.name: to_numpy(value)
            for node, value in self.known.items()
            if node.name in read and isinstance(value, self.torch.Tensor)
        }
        user_outputs = [
            outputs[i]
            for i, spec in enumerate(signature.output_specs)
            if spec.kind == self.torch.export.graph_signature.OutputKind.USER_OUTPUT
        ]
        pytree = self.torch.utils._pytree
        return Graph(
            nodes=tuple(self.nodes),
            inputs=_plain(
                pytree.tree_unflatten(self._user_inputs(), self.program.call_spec.in_spec)
            ),
            outputs=_plain(pytree.tree_unflatten(user_outputs, self.program.call_spec.out_spec)),
            specs=self.specs,
            parameters={name: path for name, path in lifted.items() if path in state},
            constants=constants,
            names=self._names(),
        )

    def _names(self) -> tuple[str, ...]:
        calls = self.program.module_call_graph
        found = getattr(calls[0].signature, "forward_arg_names", None) if calls else None
        return tuple(found or ())

    def _user_inputs(self) -> list[Any]:
        kinds = self.torch.export.graph_signature
        inputs = []
        for spec in self.program.graph_signature.input_specs:
            if spec.kind == kinds.InputKind.USER_INPUT:
                is_tensor = isinstance(spec.arg, kinds.TensorArgument)
                inputs.append(Ref(spec.arg.name) if is_tensor else getattr(spec.arg, "value", None))
        return inputs

    def _batch_symbols(self, batch_axis: int | None) -> set[Any]:
        """What torch calls the size of the batch axis: a symbol, or one for each input.

        torch tells the batches of two inputs apart if nothing in the model makes them equal.
        """
        found = set()
        names = {ref.name for ref in self._user_inputs() if isinstance(ref, Ref)}
        for node in self.module.graph.nodes:
            if batch_axis is not None and node.op == "placeholder" and node.name in names:
                shape = node.meta["val"].shape
                if len(shape) > batch_axis and is_free(shape[batch_axis]):
                    found.add(shape[batch_axis].node.expr)
        return found

    def _walk(self) -> list[Any]:
        """Record the nodes; return what the program returns, as references."""
        values: dict[Any, Any] = {}
        lifted = self.program.graph_signature.inputs_to_lifted_tensor_constants
        lifted = {**self.program.graph_signature.inputs_to_buffers, **lifted}
        for node in self.module.graph.nodes:
            if node.op == "placeholder":
                values[node] = Ref(node.name)
                self.specs[node.name] = self._spec(node.meta.get("val"))
                if lifted.get(node.name, "") in self.program.constants:
                    self.known[node] = self.program.constants[lifted[node.name]]
            elif node.op == "get_attr":
                values[node] = getattr(self.module, node.target)
            elif node.op == "output":
                return list(self._arguments(node.args[0], values))
            else:
                values[node] = self._call(node, values)
        raise AssertionError("a graph without an output node")

    def _call(self, node: Any, values: dict[Any, Any]) -> Any:
        name, operator, scope = node.name, _operator_name(node.target), _module_path(node)
        args = self._arguments(node.args, values)
        if operator in _CHECKS:
            return None
        if operator == "with_effects" and str(node.args[1]) in _CHECKS:
            return (None, None)  # the order of side effects, of which a check has none
        if operator == "operator.getitem" and isinstance(args[0], tuple | list):
            return args[0][args[1]]
        spec = self._spec(node.meta.get("val"))
        if self._fold(node):
            self.specs[name] = spec
            return Ref(name) if spec is not None else self.known[node]
        values_only = operator in _VALUES_ONLY and all(use.args[1] == 0 for use in node.users)
        if values_only:
            operator, spec = _VALUES_ONLY[operator], spec[0]
        self.uses.append((operator, scope))
        if self._is_sized_by_data(node):
            self.sized_by_data.append((operator, scope))
        self.specs[name] = spec
        kwargs = {
            key: value
            for key, value in self._arguments(dict(node.kwargs), values).items()
            if key not in _MEMORY
        }
        if operator == "aten.as_strided.default":
            kwargs["order"] = _order_in_memory(node.args[0].meta["val"])
        if operator in OPERATORS and OPERATORS[operator].pointwise:
            args = self._in_one_dtype(name, args, scope, spec)
        self.nodes.append(Node(name, operator, tuple(args), kwargs, scope, spec))
        return (Ref(name),) if values_only else Ref(name)

    def _in_one_dtype(self, name: str, args: Any, scope: str, spec: Any) -> list[Any]:
        """The arguments in the dtype in which torch computes, as far as they are whole numbers."""
        specs = [self.specs.get(a.name) if isinstance(a, Ref) else None for a in args]
        arrays = [s for s in specs if isinstance(s, Spec)]
        if any(s.dtype.kind not in "biu" for s in [*arrays, spec]):
            return [float(a) if type(a) is int and abs(a) >= 2**31 else a for a in args]
        whole = [s for s in arrays if is_whole(s)]
        # Arrays come before numbers without axes; plain numbers have no say.
        deciding = [s.dtype for s in whole if s.shape] or [s.dtype for s in whole]
        if not deciding:
            return args
        common = spec.dtype if is_whole(spec) else np.result_type(*deciding)
        cast = []
        for i, (argument, given) in enumerate(zip(args, specs, strict=True)):
            if is_whole(given) and given.dtype != common:
                new, operator = f"{name}_operand_{i}", "prims.convert_element_type.default"
                self.specs[new] = dataclasses.replace(given, dtype=common)
                self.nodes.append(
                    Node(new, operator, (argument, common), {}, scope, self.specs[new])
                )
                argument = Ref(new)
            cast.append(wrapped(argument, common) if type(argument) is int else argument)
        return cast

    def _is_sized_by_data(self, node: Any) -> bool:
        """Whether the shape of a result, or a size, is known only from values of tensors."""
        tags, tag = getattr(node.target, "tags", ()), self.torch.Tag
        if tag.dynamic_output_shape not in tags and tag.data_dependent_output not in tags:
            return False
        fresh = self._sizes_by_data(node) - self.settled
        masks = [
            operand
            for operand in node.all_input_nodes
            if getattr(operand.meta.get("val"), "dtype", None) == self.torch.bool
        ]
        if masks and all(mask in self.known for mask in masks):
            self.settled |= fresh
            return False
        return bool(fresh)

    def _sizes_by_data(self, node: Any) -> set[Any]:
        """The symbols for sizes in a result that torch does not know from the sizes of inputs."""
        symbols: Any = importlib.import_module("torch.fx.experimental.symbolic_shapes")
        return set(symbols.free_unbacked_symbols(node.meta.get("val")))

    def _fold(self, node: Any) -> bool:
        """Have torch compute now what depends on neither inputs nor parameters: masks, positions.

        Not only to save work: buckets of positions are rounded logarithms, and the last bit counts.
        """
        torch, target = self.torch, node.target
        if isinstance(target, torch._ops.OpOverload):
            is_random = torch.Tag.nondeterministic_seeded in target.tags
            fixed = not is_random and "empty" not in str(target)
        else:
            fixed = _operator_name(target) == "operator.getitem"
        if not fixed or not all(operand in self.known for operand in node.all_input_nodes):
            return False
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), self.known.__getitem__)
        with torch.no_grad():
            self.known[node] = target(*args, **kwargs)
        self.settled |= self._sizes_by_data(node)
        return True

    def _arguments(self, structure: Any, values: dict[Any, Any]) -> Any:
        torch = self.torch
        if isinstance(structure, torch.fx.Node):
            return values[structure]
        if isinstance(structure, tuple):
            return tuple(self._arguments(item, values) for item in structure)
        if isinstance(structure, list):
            return [self._arguments(item, values) for item in structure]
        if isinstance(structure, dict):
            return {key: self._arguments(item, values) for key, item in structure.items()}
        if isinstance(structure, torch.dtype):
            return numpy_dtype(structure)
        if isinstance(structure, torch._ops.OpOverload):
            return str(structure)
        if isinstance(structure, torch.device | torch.layout | torch.memory_format):
            return None
        return structure

    def _spec(self, value: Any) -> Any:
        if isinstance(value, self.torch.Tensor):
            free = [is_free(size) for size in value.shape]
            carriers = [
                axis
                for axis, size in enumerate(value.shape)
                if free[axis] and self._is_batch(size.node.expr)
            ]
            return Spec(
                tuple(None if f else int(s) for f, s in zip(free, value.shape, strict=True)),
                numpy_dtype(value.dtype),
                carriers[0] if len(carriers) == 1 else None,
            )
        if isinstance(value, tuple | list):
            return tuple(self._spec(item) for item in value)
        return None

    def _is_batch(self, expression: Any) -> bool:
        """Whether a size is that of the batch however large it is, also if written otherwise.

        Two batches in one array, cut in half again, are `(2 * s + 1) // 2` to torch.
        """
        if expression in self.batch:
            return True
        if not expression.free_symbols or not expression.free_symbols <= self.batch:
            return False
        sizes = (1, 2, 3, 4, 7, 16, 33)
        return all(expression.subs(dict.fromkeys(self.batch, n)) == n for n in sizes)


def _plain(structure: Any) -> Any:
    """Containers of torch's own kind (a model's output class) as tuples, lists and dictionaries."""
    if isinstance(structure, Mapping):
        return {key: _plain(item) for key, item in structure.items()}
    if isinstance(structure, list):
        return [_plain(item) for item in structure]
    if isinstance(structure, tuple):
        return tuple(_plain(item) for item in structure)
    return structure


def _order_in_memory(value: Any) -> tuple[int, ...]:
    """The axes of a tensor from the slowest in memory to the fastest."""
    strides = [stride.node.hint if hasattr(stride, "node") else stride for stride in value.stride()]
    sizes = [size.node.hint if hasattr(size, "node") else size for size in value.shape]
    order = sorted(range(len(strides)), key=lambda axis: (-strides[axis], axis))
    dense = 1
    for axis in reversed(order):
        if sizes[axis] > 1 and strides[axis] != dense:
            raise NotImplementedError(
                "The model uses `as_strided` on a tensor with gaps or overlaps in memory, such as a "
                "slice or an expanded one. Call `.contiguous()` on that tensor first."
            )
        dense *= sizes[axis]
    return tuple(order)


def _operator_name(target: Any) -> str:
    """`aten.relu.default`, `operator.mul`, `math.floor`, `torch.sym_max`."""
    module = getattr(target, "__module__", "")
    if module in ("_operator", "math", "torch"):
        return f"{module.lstrip('_')}.{target.__name__}"
    return str(target)


def _module_path(node: Any) -> str:
    """The path of the module that called the operator, as in the state dict."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if not stack or stack[-1][0].startswith("_empty"):
        return ""
    path = stack[-1][0].partition("@")[0].removeprefix("L['self']").removeprefix(".")
    return re.sub(r"\[['\"]?(\w+)['\"]?\]", r".\1", path)
