"""`from_torch`: a PyTorch model in, an equal Equinox model out."""

import inspect
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from ..._core import require
from . import _operators as _operators  # fills the table
from ._archive import load_program
from ._export import evaluation_mode, export, export_one, has_free_batch, to_core
from ._integers import refuse_wide
from ._module import Imported, Names, make
from ._tensors import copies, to_array, to_numpy
from ._translate import translate
from ._verify import verify as compare


def from_torch(
    model: Any,
    example_input: Any = None,
    *,
    verify: bool = True,
    batch_axis: int | None = 0,
    tolerance: float | None = None,
    trusted: bool = False,
) -> Imported:
    r"""A PyTorch model as an Equinox module that computes the same, in evaluation mode.

    The model is exported with `torch.export`, decomposed to core operators, and each operator is
    replaced by its JAX function (`torch_operator` adds some). The result is a pure function of a
    pytree of parameters that are named as in torch's `state_dict`; it can be jitted, differentiated,
    mapped and exported, and `topology_of` finds its layers under torch's own names.

    The size of the batch is free afterwards: `imported(x)` takes a batch of any size, or one example
    without the batch axis, which is how `topology_of` and effective information take it.

    **Arguments:**

    - `model`: a `torch.nn.Module`; what `torch.export.export` returned, or the path of a `.pt2` file
        of it, which need no source code of the model (and keep a batch size that was fixed on
        export).
    - `example_input`: a tensor as the model takes it, usually with a batch axis; a tuple for several
        positional inputs, a dictionary for keyword inputs. Not needed for an exported program.
    - `verify`: compare outputs, the values inside every layer, and the gradients of all trained
        parameters with torch, on the example and on random inputs; the largest relative errors are
        kept in `imported.report`.
    - `batch_axis`: the axis of the inputs that counts examples (1 for a recurrent network that takes
        time first), `None` if there is none.
    - `tolerance`: largest accepted relative error; by default 1e-5 in float32, 1e-10 in float64.
    - `trusted`: needed for a `.pt2` file, which is a program, and loading a program may run what is
        in it. Pass `True` for a file that you made yourself. What a model does not need (pickled
        constants, native libraries) is refused even then.

    **Raises:** `UnsupportedOperators` listing every operator that has no JAX counterpart, with the
    modules that use it; `ImportMismatch` if the comparison fails; `ValueError` for float64
    parameters, or whole numbers that can pass 32 bits, when JAX is limited to 32 bits.

    Cost: one export (seconds for a deep model), and for the verification one compilation of the
    model and its gradient.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    >>> imported = from_torch(net, torch.zeros(1, 4))
    >>> sorted(imported.state_dict())
    ['0.bias', '0.weight', '2.bias', '2.weight']
    >>> import jax.numpy as jnp
    >>> imported(jnp.zeros((5, 4))).shape, imported(jnp.zeros(4)).shape
    ((5, 2), (2,))
    """
    torch = require("torch", extra="torch")
    args, kwargs = _arguments(example_input)
    name = type(model).__name__
    if isinstance(model, str | os.PathLike):
        name = pathlib.Path(os.fspath(model)).stem
        model = load_program(model, trusted)
    if isinstance(model, torch.export.ExportedProgram):
        program, model = model, model.module()
        if example_input is None:
            args, kwargs = program.example_inputs or ((), {})
    elif isinstance(model, torch.nn.Module):
        order = list(inspect.signature(model.forward).parameters)
        kwargs = {key: kwargs[key] for key in sorted(kwargs, key=[*order, *kwargs].index)}
        _check_example(torch, model, args, kwargs)
        program = export(model, args, kwargs, batch_axis)
        if batch_axis == 0 and not has_free_batch(program, batch_axis):
            program, args, kwargs = export_one(model, args, kwargs) or (program, args, kwargs)
    else:
        raise TypeError(
            "`model` must be a torch.nn.Module, an exported program or the path of a .pt2 file; "
            f"got {type(model).__name__}."
        )
    exported = translate(to_core(program), batch_axis)
    refuse_wide(exported.graph)
    names, leaves = _parameters(program, list(model.state_dict()))
    imported = make(_identifier(name), exported.graph, names, leaves)
    if not verify:
        return imported
    report = compare(imported, model, exported, args, kwargs, tolerance)
    return make(_identifier(name), exported.graph, names, leaves, report)


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword inputs; arrays of NumPy and JAX become tensors."""
    torch = require("torch", extra="torch")
    if example is None:
        return (), {}

    def tensor(value: Any) -> Any:
        return (
            torch.from_numpy(np.array(value))
            if isinstance(value, np.ndarray | jax.Array)
            else value
        )

    if isinstance(example, Mapping):
        return (), {key: torch.utils._pytree.tree_map(tensor, v) for key, v in example.items()}
    if isinstance(example, tuple | list):
        return tuple(torch.utils._pytree.tree_map(tensor, v) for v in example), {}
    return (tensor(example),), {}


def _check_example(torch: Any, model: Any, args: Any, kwargs: Any) -> None:
    """Run the model once, so that a wrong example is reported in torch's own words."""
    if not args and not kwargs:
        raise TypeError(
            "`example_input` is needed to export a torch module: a tensor as the model takes it, "
            "a tuple of positional inputs or a dictionary of keyword inputs."
        )
    with evaluation_mode(model), torch.no_grad():
        try:
            given, named = copies((args, kwargs))
            model(*given, **named)
        except Exception as error:
            raise ValueError(f"The model does not accept `example_input`: {error}") from error


def _parameters(program: Any, order: list[str]) -> tuple[Names, dict[str, Array]]:
    """Names and leaves of an exported program's state; tensors that share memory are one leaf."""
    first: dict[Any, str] = {}
    source: dict[str, str] = {}
    for name in order:
        tensor = program.state_dict[name]
        memory = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        source[name] = first.setdefault(memory, name) if tensor.numel() else name
    parameters = frozenset(source[path] for path in program.graph_signature.parameters)
    trained = frozenset(name for name in parameters if program.state_dict[name].requires_grad)
    dtypes = {
        name: str(tensor.dtype).removeprefix("torch.")
        for name, tensor in program.state_dict.items()
    }
    leaves = {
        name: to_array(name, to_numpy(program.state_dict[name]))
        for name in dict.fromkeys(source.values())
    }
    return Names(source, parameters, trained, dtypes), leaves


def _identifier(name: str) -> str:
    """A name that Python accepts for a class."""
    name = re.sub(r"\W", "_", name)
    return name if name.isidentifier() else f"Imported_{name}"
