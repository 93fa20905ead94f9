"""Proof that an imported model computes what the torch model computes, and its gradients."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

from ..._core import require
from ._export import Exported, evaluation_mode
from ._graph import Spec, refs
from ._module import Imported
from ._tensors import to_numpy

# Largest accepted error of an array, relative to its largest entry.
_TOLERANCE = {"float64": 1e-10, "complex128": 1e-10, "float32": 1e-5, "complex64": 1e-5}
_TOLERANCE |= {"bfloat16": 5e-2, "float16": 1e-2}


class ImportMismatch(ArithmeticError):
    """The imported model and the torch model disagree; the text says where."""


@dataclasses.dataclass(frozen=True, eq=False)
class Verification:
    """Largest relative errors found when an imported model was compared with torch.

    The error of an array is its largest absolute deviation over its largest absolute entry. `layers`
    compares every value that a torch module computes, `outputs` the results of the model,
    `gradients` the derivatives of a random combination of the outputs by every trained parameter;
    each is the largest over the example and random inputs.
    """

    layers: Mapping[str, float]
    outputs: float
    gradients: Mapping[str, float]
    tolerance: float

    def __repr__(self) -> str:
        worst = max(self.gradients.values(), default=0.0)
        return (
            f"Verification(outputs={self.outputs:.1e}, gradients={worst:.1e}, "
            f"tolerance={self.tolerance:.0e}, layers={len(self.layers)})"
        )


def verify(
    imported: Imported,
    model: Any,
    exported: Exported,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    tolerance: float | None = None,
) -> Verification:
    """Compare on the example and on random inputs like it; raise `ImportMismatch` if unequal."""
    torch = require("torch", extra="torch")
    layers: dict[str, float] = {}
    gradients: dict[str, float] = {}
    outputs = 0.0
    generator = torch.Generator().manual_seed(0)
    tolerance = _tolerance(imported) if tolerance is None else tolerance
    leaves, treedef = jtu.tree_flatten(imported)

    # What is to be proven is the program, not the compiler: its optimisations take the longest.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(leaves: list[Array], given: Any, weights: Any) -> Any:
        return _values_and_gradients(jtu.tree_unflatten(treedef, leaves), given, weights)

    for random in (False, True):
        if random:
            args, kwargs = torch.utils._pytree.tree_map(
                lambda value: _like(torch, value, generator), (args, dict(kwargs))
            )
        theirs, by_node, weights, slopes = _torch_side(
            torch, model, exported, args, kwargs, generator
        )
        arrays = (jnp.asarray(to_numpy(tensor)) for tensor in _tensors(torch, (args, kwargs)))
        names = (ref.name for ref in refs(exported.graph.inputs))
        given = dict(zip(names, arrays, strict=True))
        with jax.default_matmul_precision("highest"):
            ours, values, gradient = run(leaves, given, [to_numpy(w) for w in weights])
        if len(ours) != len(theirs):
            raise ImportMismatch(f"torch returns {len(theirs)} arrays, the import {len(ours)}.")
        for a, b in zip(ours, theirs, strict=True):
            outputs = max(outputs, _error(a, to_numpy(b)))
        for node in exported.graph.nodes:
            if node.name in by_node and isinstance(node.specs, Spec):
                # Rounding is as large as what a value was computed from: a difference may vanish.
                operands = (by_node[ref.name] for ref in refs(node.args) if ref.name in by_node)
                floor = max(map(_size, operands), default=0.0) / 10
                error = _error(values[node.name], by_node[node.name], floor)
                layers[node.scope] = max(layers.get(node.scope, 0.0), error)
        slopes = {name: to_numpy(slope) for name, slope in slopes.items()}
        # A gradient may vanish too: that of the bias of an attention's keys does.
        floor = max(map(_size, slopes.values()), default=0.0) / 10
        for name, slope in slopes.items():
            error = _error(gradient[name], slope, floor)
            gradients[name] = max(gradients.get(name, 0.0), error)
    report = Verification(layers, outputs, gradients, tolerance)
    _judge(report)
    return report


def _judge(report: Verification) -> None:
    wrong = {
        **{f"layer {name or '(top)'}": error for name, error in report.layers.items()},
        "outputs": report.outputs,
        **{f"gradient of {name}": error for name, error in report.gradients.items()},
    }
    wrong = {what: error for what, error in wrong.items() if not error <= report.tolerance}
    if wrong:
        listed = "\n".join(f"  {what}: {error:.2e}" for what, error in wrong.items())
        raise ImportMismatch(
            "The imported model differs from the torch model by more than "
            f"{report.tolerance:.0e} (relative), in order of execution:\n{listed}\n"
            "If only late layers and gradients are listed, and by little, this is rounding: import "
            "in double precision to see it vanish, or pass `tolerance=`. Otherwise the first layer "
            "listed uses an operator that computes something else; please report it."
        )


def _values_and_gradients(imported: Imported, given: Any, weights: list[Any]) -> Any:
    trained, rest = eqx.partition(imported, imported.trainable)

    def loss(trained: Any) -> Any:
        outputs, values = eqx.combine(trained, rest)._run(given, single=False)
        ours = [leaf for leaf in jtu.tree_leaves(list(_arrays(outputs)))]
        floating = [_real(leaf) for leaf in ours if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        total = sum(jnp.sum(w * y) for w, y in zip(weights, floating, strict=True))
        values = {name: value for name, value in values.items() if eqx.is_array(value)}
        return jnp.asarray(total, float), (ours, values)

    gradient, (ours, values) = jax.grad(loss, has_aux=True)(trained)
    gradient = jtu.tree_map(jnp.conj, gradient)  # torch's convention for complex parameters
    return ours, values, eqx.combine(gradient, rest).state_dict()


def _real(y: Array) -> Array:
    """Complex numbers as pairs."""
    return jnp.stack([y.real, y.imag], axis=-1) if jnp.iscomplexobj(y) else y


def _arrays(outputs: Any) -> Any:
    """The arrays of an output in torch's order: that of insertion, for dictionaries."""
    if isinstance(outputs, Mapping):
        for item in outputs.values():
            yield from _arrays(item)
    elif isinstance(outputs, tuple | list):
        for item in outputs:
            yield from _arrays(item)
    elif outputs is not None and not isinstance(outputs, bool | int | float | str):
        yield outputs


def _torch_side(
    torch: Any, model: Any, exported: Exported, args: Any, kwargs: Any, generator: Any
) -> Any:
    """Outputs, values by node, random weights of the outputs, and the gradients they give."""
    with evaluation_mode(model), torch.enable_grad():
        theirs = _tensors(torch, model(*args, **kwargs))
        real = [torch.view_as_real(y.resolve_conj()) if y.is_complex() else y for y in theirs]
        floating = [y for y in real if y.is_floating_point()]
        weights = [torch.randn(y.shape, generator=generator).to(y.dtype) for y in floating]
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        reached = [(y, w) for y, w in zip(floating, weights, strict=True) if y.requires_grad]
        slopes: dict[str, Any] = {}
        if trained and reached:
            found = torch.autograd.grad(
                [y for y, _ in reached],
                list(trained.values()),
                [w for _, w in reached],
                allow_unused=True,
            )
            slopes = {
                name: torch.zeros_like(trained[name]) if slope is None else slope
                for name, slope in zip(trained, found, strict=True)
            }
    return theirs, _node_values(torch, exported, args, kwargs), weights, slopes


def _node_values(torch: Any, exported: Exported, args: Any, kwargs: Any) -> dict[str, np.ndarray]:
    """Every array that the exported program computes on the way, by the node's name."""
    found: dict[str, np.ndarray] = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, node: Any) -> Any:
            value = super().run_node(node)
            if "empty" in str(node.target):
                value.zero_()  # instead of whatever was in memory
            first = value[0] if isinstance(value, tuple) else value
            if isinstance(first, torch.Tensor) and node.op == "call_function":
                found[node.name] = to_numpy(first)
            return value

    program = exported.program
    signature = program.graph_signature
    state = {**program.constants, **program.state_dict}
    lifted = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    inputs = dict(
        zip(
            signature.user_inputs,
            torch.utils._pytree.tree_leaves((args, dict(kwargs))),
            strict=True,
        )
    )
    placeholders = [node.name for node in program.graph.nodes if node.op == "placeholder"]
    values = [
        state[lifted[name]] if name in lifted else inputs.get(name, torch.zeros(0))
        for name in placeholders
    ]
    with torch.no_grad():
        Recorder(program.graph_module).run(*values)
    return found


def _tensors(torch: Any, structure: Any) -> list[Any]:
    leaves = torch.utils._pytree.tree_leaves(structure)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _like(torch: Any, value: Any, generator: Any) -> Any:
    """Random values of the same shape, dtype, and spread or range."""
    if not isinstance(value, torch.Tensor) or not value.numel():
        return value
    if value.is_floating_point():
        spread = value.float().std(correction=0)
        spread = spread if spread > 0 else 1.0
        noise = torch.randn(value.shape, generator=generator)
        return (noise * spread + value.float().mean()).to(value.dtype)
    order = torch.randperm(value.numel(), generator=generator)
    return value.flatten()[order].reshape(value.shape)


def _tolerance(imported: Imported) -> float:
    dtypes = {leaf.dtype.name for leaf in jtu.tree_leaves(imported)}
    return max((_TOLERANCE[dtype] for dtype in dtypes if dtype in _TOLERANCE), default=1e-5)


def _size(values: np.ndarray) -> float:
    """The largest finite entry of a floating-point array, 0 for any other."""
    if values.dtype.kind in "biu" or not values.size:
        return 0.0
    size = np.abs(_wide(values))
    return float(np.max(size, where=np.isfinite(size), initial=0.0))


def _error(ours: Any, theirs: np.ndarray, floor: float = 0.0) -> float:
    """Largest deviation over largest entry (at least `floor`); infinite if not comparable.

    Integers and booleans are equal, error 0, or not, error 1.
    """
    if np.shape(ours) != theirs.shape:
        return float("inf")
    ours = np.asarray(ours)
    if theirs.dtype.kind in "biu":
        # What 32 bits cannot hold is compared where it is used: -inf cast to an integer is any.
        held = True if theirs.dtype == bool else np.abs(theirs) < np.iinfo(ours.dtype).max
        return float(np.any((ours != theirs) & held))
    a, b = _wide(ours), _wide(theirs)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    deviation = np.abs(a[finite] - b[finite])
    return float(np.max(deviation, initial=0.0)) / max(_size(theirs), floor, 1e-30)


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
