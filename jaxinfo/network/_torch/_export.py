"""A torch module as an exported program, in core operators."""

import contextlib
import importlib
import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from ..._core import require
from ._tensors import copies
from ._translate import is_free, is_known

# Composite operators that are kept whole: one JAX function is shorter and faster than their parts.
_KEPT = """linear.default matmul.default einsum.default scaled_dot_product_attention.default
lstm.input gru.input rnn_tanh.input rnn_relu.input detach.default""".split()


def export(
    model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], batch_axis: int | None
) -> Any:
    """The `torch.export` program of a model in evaluation mode, with a free size of `batch_axis`.

    torch builds a size of one into the program, so a batch of one example is made a batch of two;
    if the model does not accept that (the axis was no batch), the example is taken as it is.

    **Raises:** `NotImplementedError` with torch's reason if torch cannot export the model.
    """
    torch = require("torch", extra="torch")

    def doubled(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim > batch_axis:
            return torch.cat([value, value], batch_axis) if value.shape[batch_axis] == 1 else value
        return value

    def free(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return {batch_axis: torch.export.Dim.AUTO} if value.ndim > batch_axis else None
        if isinstance(value, tuple | list):
            return type(value)(free(item) for item in value)
        if isinstance(value, Mapping):
            return {key: free(item) for key, item in value.items()}
        return None

    def run(args: Any, kwargs: Any) -> Any:
        shapes = None
        if batch_axis is not None:
            bound = inspect.signature(model.forward).bind(*args, **kwargs).arguments
            shapes = {name: free(value) for name, value in bound.items()}
        return torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)

    with evaluation_mode(model), _quiet(torch):
        if batch_axis is not None:
            twice = torch.utils._pytree.tree_map(doubled, (args, dict(kwargs)))
            if any(
                a is not b
                for a, b in zip(
                    torch.utils._pytree.tree_leaves(twice),
                    torch.utils._pytree.tree_leaves((args, dict(kwargs))),
                    strict=True,
                )
            ):
                with contextlib.suppress(Exception):
                    return run(*twice)
        try:
            return run(args, dict(kwargs))
        except Exception as error:  # of torch's many own kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise NotImplementedError(
                f"torch.export cannot write this model down as a program: {reason} (torch's own "
                "message, above, says where). What the code decides by the values of tensors "
                "(branches, `.item()`, `.numpy()`, packed sequences) has to be written with tensors, "
                "such as `torch.where` and masks; scripted and quantised modules have to be the "
                "plain ones they were made from."
            ) from error


def export_one(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The program for a batch of one example, and that example, where batches can be split so.

    For a model that reads the size of the batch as a plain number, which fixes it: `None` unless
    torch's outputs for each example alone are the rows of those for the whole batch.
    """
    torch = require("torch", extra="torch")
    pytree = torch.utils._pytree
    given, spec = pytree.tree_flatten((args, dict(kwargs)))
    sizes = {x.shape[0] if x.ndim else 0 for x in given if isinstance(x, torch.Tensor)}
    if len(sizes) != 1 or (size := sizes.pop()) < 2:
        return None

    def one(i: int) -> Any:
        rows = [x[i : i + 1] if isinstance(x, torch.Tensor) else x for x in given]
        return copies(pytree.tree_unflatten(rows, spec))

    def outputs(args: Any, kwargs: Any) -> list[Any]:
        found = pytree.tree_leaves(model(*args, **kwargs))
        return [leaf for leaf in found if isinstance(leaf, torch.Tensor)]

    try:
        with evaluation_mode(model), torch.no_grad():
            whole = outputs(*copies((args, dict(kwargs))))
            alone = zip(*(outputs(*one(i)) for i in range(size)), strict=True)
            for rows, batch in zip(alone, whole, strict=True):
                torch.testing.assert_close(torch.cat(rows), batch)
        args, kwargs = one(0)
        return export(model, args, kwargs, None), args, kwargs
    except Exception:  # whatever the model does with one example: its batch stays as it is
        return None


def has_free_batch(program: Any, batch_axis: int) -> bool:
    """Whether any input of an exported program has a free size there."""
    inputs = set(program.graph_signature.user_inputs)
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.name in inputs]
    return any(len(shape) > batch_axis and is_free(shape[batch_axis]) for shape in shapes)


def to_core(program: Any) -> Any:
    """The program decomposed to core operators, as far as the table asks for it."""
    torch = require("torch", extra="torch")
    table = torch.export.default_decompositions()
    for name in _KEPT:
        packet, _, overload = name.partition(".")
        table.pop(getattr(getattr(torch.ops.aten, packet), overload), None)
    with _quiet(torch):
        _mark_blocks_without_gradient(torch, program.graph)
        program = core = program.run_decompositions(table)
        # Of what is still unknown, torch may know how to take it apart too. If that does not lead
        # all the way, the operators to name are those of the model, not their parts.
        while further := torch._decomp.get_decompositions(
            _unknown(torch, program.graph) - set(table)
        ):
            table.update(further)
            program = program.run_decompositions(table)
        return core if _unknown(torch, program.graph) else program


def _unknown(torch: Any, graph: Any) -> set[Any]:
    """The operators of a graph that are not in the table."""
    return {
        node.target
        for node in graph.nodes
        if isinstance(node.target, torch._ops.OpOverload) and not is_known(str(node.target))
    }


def _mark_blocks_without_gradient(torch: Any, graph: Any) -> None:
    """Detach what a block under `no_grad` returns: the decomposition forgets the block."""
    for node in list(graph.nodes):
        if str(node.target) == "wrap_with_set_grad_enabled" and node.args[0] is False:
            for result in list(node.users):
                with graph.inserting_after(result):
                    detached = graph.call_function(torch.ops.aten.detach.default, (result,))
                detached.meta = dict(result.meta)
                result.replace_all_uses_with(
                    detached, delete_user_cb=lambda use, new=detached: use is not new
                )


@contextlib.contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Every module in evaluation mode, uncompiled, and afterwards each in the mode it was in."""
    torch = require("torch", extra="torch")
    before = [(module, module.training) for module in model.modules()]
    for module, _ in before:
        module.training = False
    try:
        with torch.compiler.set_stance("force_eager"):  # a model of `torch.compile` runs as it is
            yield
    finally:
        for module, training in before:
            module.training = training


@contextlib.contextmanager
def _quiet(torch: Any) -> Iterator[None]:
    """Without torch's warnings, and without its shortcuts.

    Fused layers hide their operators. Transformers look whether a mask is the causal one, which is a
    decision on data and only a hint: the mask is applied in any case. The best order of an einsum
    depends on the size of the batch, which would fix it.
    """
    einsum: Any = importlib.import_module("torch.backends.opt_einsum")
    fast, order = torch.backends.mha.get_fastpath_enabled(), einsum.enabled
    einsum.enabled = False
    layers, looks = torch.nn.modules.transformer, "_detect_is_causal_mask"
    detect = getattr(layers, looks, None)
    torch.backends.mha.set_fastpath_enabled(False)
    setattr(layers, looks, lambda mask, is_causal=None, size=None: is_causal is True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        einsum.enabled = order
        setattr(layers, looks, detect)
