"""Proof that an imported model computes what the torch model computes, and its gradients."""

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
from .._proof import (
    ImportMismatch,
    Verification,
    combination,
    default_tolerance,
    judge,
    largest_error,
    magnitude,
)
from ._export import evaluation_mode
from ._graph import Spec, refs
from ._module import Imported
from ._tensors import copies, to_array, to_numpy
from ._translate import Exported


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
    leaves, treedef = jtu.tree_flatten(imported)
    if tolerance is None:
        specs = jtu.tree_leaves(exported.graph.specs, is_leaf=lambda spec: isinstance(spec, Spec))
        tolerance = default_tolerance(x.dtype for x in (*leaves, *specs))

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
        arrays = (
            to_array("example_input", values) if values.dtype.kind in "iu" else jnp.asarray(values)
            for values in map(to_numpy, _tensors(torch, (args, kwargs)))
        )
        names = (ref.name for ref in refs(exported.graph.inputs))
        given = dict(zip(names, arrays, strict=True))
        with jax.default_matmul_precision("highest"):
            ours, values, gradient = run(leaves, given, [to_numpy(w) for w in weights])
        if len(ours) != len(theirs):
            raise ImportMismatch(f"torch returns {len(theirs)} arrays, the import {len(ours)}.")
        for a, b in zip(ours, theirs, strict=True):
            outputs = max(outputs, largest_error(a, to_numpy(b)))
        for node in exported.graph.nodes:
            if node.name in by_node and isinstance(node.specs, Spec):
                # Rounding is as large as what a value was computed from: a difference may vanish.
                operands = (by_node[ref.name] for ref in refs(node.args) if ref.name in by_node)
                floor = max(map(magnitude, operands), default=0.0) / 10
                error = largest_error(*_held(values[node.name], by_node[node.name]), floor)
                layers[node.scope] = max(layers.get(node.scope, 0.0), error)
        slopes = {name: to_numpy(slope) for name, slope in slopes.items()}
        # A gradient may vanish too: that of the bias of an attention's keys does.
        floor = max(map(magnitude, slopes.values()), default=0.0) / 10
        for name, slope in slopes.items():
            error = largest_error(gradient[name], slope, floor)
            gradients[name] = max(gradients.get(name, 0.0), error)
    report = Verification(layers, outputs, gradients, tolerance)
    judge(report)
    return report


def _values_and_gradients(imported: Imported, given: Any, weights: list[Any]) -> Any:
    trained, rest = eqx.partition(imported, imported.trainable)

    def loss(trained: Any) -> Any:
        outputs, values = eqx.combine(trained, rest)._run(given, single=False)
        total, ours = combination(outputs, weights)
        values = {name: value for name, value in values.items() if eqx.is_array(value)}
        return total, (ours, values)

    gradient, (ours, values) = jax.grad(loss, has_aux=True)(trained)
    gradient = jtu.tree_map(jnp.conj, gradient)  # torch's convention for complex parameters
    return ours, values, eqx.combine(gradient, rest).state_dict()


def _torch_side(
    torch: Any, model: Any, exported: Exported, args: Any, kwargs: Any, generator: Any
) -> Any:
    """Outputs, values by node, random weights of the outputs, and the gradients they give."""
    with evaluation_mode(model), torch.enable_grad():
        given, named = copies((args, dict(kwargs)))
        theirs = _tensors(torch, model(*given, **named))
        real = [torch.view_as_real(y.resolve_conj()) if y.is_complex() else y for y in theirs]
        floating = [y for y in real if y.is_floating_point()]
        weights = [torch.randn(y.shape, generator=generator).to(y.dtype) for y in floating]
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        reached = [(y, w) for y, w in zip(floating, weights, strict=True) if y.requires_grad]
        slopes: dict[str, Any] = {}
        if trained and reached:
            try:
                found = torch.autograd.grad(
                    [y for y, _ in reached],
                    list(trained.values()),
                    [w for _, w in reached],
                    allow_unused=True,
                )
            except RuntimeError as error:
                raise ValueError(
                    "An import is proven by the gradients of its original too, and torch cannot "
                    f"differentiate this model: {error}. Rewrite what torch cannot differentiate "
                    "(often an operation in place), or pass `verify=False` and compare yourself."
                ) from error
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
            torch.utils._pytree.tree_leaves(copies((args, dict(kwargs)))),
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


def _held(ours: Any, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both, where 32 bits hold what torch has; what reads the rest has been refused."""
    ours = np.asarray(ours)
    if theirs.dtype.kind in "iu" and ours.shape == theirs.shape and ours.dtype != theirs.dtype:
        bounds = np.iinfo(ours.dtype)
        held = (bounds.min <= theirs) & (theirs <= bounds.max)
        return ours[held], theirs[held]
    return ours, theirs


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
