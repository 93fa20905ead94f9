"""The imported model: an Equinox module whose parameters carry torch's names."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

from ..._core import undivided
from ._graph import Graph, Ref, evaluate, refs
from ._integers import refuse_wide
from ._named import named_leaves, path_name, with_children
from ._tensors import to_array


class Imported(eqx.Module):
    """A model imported from torch, as a pure function of its parameters and its inputs.

    The parameters are a pytree whose paths are the names of torch's `state_dict`: the weight that
    torch calls `features.0.weight` is `model.features["0"]["weight"]`. Tied parameters are one leaf,
    under the first of their names. Buffers (running statistics, masks) are leaves too, to which no
    gradient flows; `trainable` tells them apart.

    `model(x)` takes what the torch model takes, or a single example without the batch axis; it
    returns what the torch model returns, in the latter case without the batch axis. Works under
    `jit`, `grad`, `vmap` and export. Made by `from_torch`.
    """

    _graph: Graph = eqx.field(static=True, repr=False)
    _names: "Names" = eqx.field(static=True, repr=False)
    report: Any = eqx.field(static=True)
    """What the verification against torch measured; `None` if there was none."""

    def __init__(self, graph: Graph, names: "Names", tree: Mapping[str, Any], report: Any = None):
        self._graph = graph
        self._names = names
        self.report = report
        for child, value in tree.items():
            setattr(self, child, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs of the torch model in evaluation mode, for a batch or for one example.

        Inputs are given by position, in torch's order, or by name.
        """
        given, mode = self._inputs(args, kwargs)
        # torch's programs merge and split the batch axis at will.
        batch = None if mode in ("one", "single") else next(iter(given.values()), None)
        return undivided(lambda model, given: model._outputs(given, mode), self, given, batch=batch)

    def state_dict(self) -> dict[str, Any]:
        """The parameters and buffers by torch's names; tied ones appear under each name.

        Of a gradient or a part of a model, those that are there.
        """
        leaves = named_leaves(self)
        return {
            name: leaves[source] for name, source in self._names.source.items() if source in leaves
        }

    @property
    def trainable(self) -> "Imported":
        """The same pytree with `True` for what torch trains, `False` for buffers and frozen ones.

        For `equinox.partition(model, model.trainable)` and `optax.masked`.
        """
        leaves, treedef = jtu.tree_flatten_with_path(self)
        return jtu.tree_unflatten(
            treedef, [path_name(path) in self._names.trained for path, _ in leaves]
        )

    def _outputs(self, given: Mapping[str, Array], mode: str) -> Any:
        match mode:
            case "each":
                return jax.vmap(lambda one: self._run(one, single=False)[0])(given)
            case "one":
                return self._run_one(given)
            case "each one":
                return jax.vmap(self._run_one)(given)
        return self._run(given, single=mode == "single")[0]

    def _run(self, given: Mapping[str, Array], *, single: bool) -> tuple[Any, dict[str, Any]]:
        refuse_wide(self._graph)
        leaves, source = self.state_dict(), self._names.source
        parameters = {
            value: leaves[name] if source[name] in self._names.parameters else _buffer(leaves[name])
            for value, name in self._graph.parameters.items()
        }
        return evaluate(self._graph, {**parameters, **given}, single=single)

    def _run_one(self, given: Mapping[str, Array]) -> Any:
        """One example through a program that was exported for batches of one."""
        batch = {name: value[None] for name, value in given.items()}
        outputs = self._run(batch, single=False)[0]
        return jtu.tree_map(lambda value: value[0] if value.shape[:1] == (1,) else value, outputs)

    def _inputs(self, args: Any, kwargs: Any) -> tuple[dict[str, Array], str]:
        """The input arrays by name, and what their shapes say about a batch axis."""
        args, kwargs = _in_places(self._graph, args, kwargs)
        given = _match(self._graph.inputs, (args, kwargs))
        given = {name: self._array(name, value) for name, value in given.items()}
        modes = {name: self._mode(name, value.shape) for name, value in given.items()}
        chosen = set(modes.values()) - {"any"}
        mapped = chosen - {"batch", "single"}
        if len(chosen) > 1 or (mapped and "any" in modes.values()):
            shapes = ", ".join(f"{name} {value.shape}" for name, value in given.items())
            raise ValueError(f"Either all inputs carry a batch axis or none does; got {shapes}.")
        return given, chosen.pop() if chosen else "batch"

    def _mode(self, name: str, shape: tuple[Any, ...]) -> str:
        spec = self._graph.specs[name]
        if _fits(shape, spec.shape):
            return "batch" if spec.batch_axis is not None else "any"
        if spec.batch_axis is not None and _fits(shape, _without(spec)):
            return "single"
        if not self._graph.batched:  # the size of the batch, if there is one, is in the program
            if spec.shape[:1] == (1,) and _fits(shape, spec.shape[1:]):
                return "one"
            if spec.shape[:1] == (1,) and _fits(shape[1:], spec.shape[1:]):
                return "each one"
            if _fits(shape[1:], spec.shape):
                return "each"
        raise ValueError(
            f"Input {name!r} must have the shape {_shape_text(spec.shape)} that the model was "
            f"imported with{_single_text(spec)}; got {shape}."
        )

    def _array(self, name: str, value: Any) -> Array:
        wanted = jax.dtypes.canonicalize_dtype(self._graph.specs[name].dtype)
        if not isinstance(value, jax.Array):
            value = np.asarray(value)
            if value.dtype.kind not in "biufc" and not jnp.issubdtype(value.dtype, jnp.inexact):
                raise TypeError(
                    f"Input {name!r} must be an array of numbers; got {value.dtype.name}."
                )
            value = to_array(name, value) if value.dtype.kind in "iu" else jnp.asarray(value)
        if not _becomes(value.dtype, wanted):
            raise TypeError(
                f"Input {name!r} must be of dtype {wanted.name}, as torch's; got {value.dtype.name}."
            )
        return value.astype(wanted)


class Names:
    """The names of a state dict: which are parameters, which are trained, which are tied.

    Equal only to itself, as it is static: one import, one compilation.
    """

    def __init__(
        self,
        source: Mapping[str, str],
        parameters: frozenset[str],
        trained: frozenset[str],
        dtypes: Mapping[str, str],
    ):
        self.source = dict(source)
        """For each name of the state dict, in order, the name of the leaf that holds it."""
        self.parameters = parameters
        self.trained = trained
        self.dtypes = dict(dtypes)
        """torch's dtype of each entry, which a 32-bit JAX may have narrowed."""


def make(
    name: str, graph: Graph, names: Names, leaves: Mapping[str, Array], report: Any = None
) -> Imported:
    """The module whose leaves lie at the paths that their dotted names spell."""
    kind, children = with_children(Imported, name, leaves)
    return kind(graph, names, children, report)


def _buffer(value: Array) -> Array:
    return jax.lax.stop_gradient(value) if jnp.issubdtype(value.dtype, jnp.inexact) else value


def _in_places(graph: Graph, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword inputs as the program has them, from a call as torch accepts it.

    Any input may be given by position or by name; plain values that are built into the program may
    be left out.
    """
    positional, by_keyword = graph.inputs
    wanted = dict(zip(graph.names, (*positional, *by_keyword.values()), strict=False))
    if len(wanted) != len(positional) + len(by_keyword):
        return args, kwargs  # a program without names of its inputs
    given = dict(zip(wanted, args, strict=False))
    twice = set(given) & set(kwargs)
    given |= kwargs
    missing = [name for name in wanted if name not in given and any(refs(wanted[name]))]
    unknown = [name for name in given if name not in wanted]
    if len(args) > len(wanted) or twice or missing or unknown:
        raise TypeError(
            f"The model was imported with the inputs ({', '.join(wanted)}), which are given by "
            f"position or by name; got {len(args)} by position and {sorted(kwargs)} by name."
        )
    values = [given.get(name, value) for name, value in wanted.items()]
    n = len(positional)
    return tuple(values[:n]), dict(zip(by_keyword, values[n:], strict=True))


def _match(wanted: Any, given: Any) -> dict[str, Any]:
    """The given values by the names of the references in the same places."""
    if isinstance(wanted, Ref):
        return {wanted.name: given}
    if isinstance(wanted, Mapping) and isinstance(given, Mapping) and set(wanted) == set(given):
        pairs = [(item, given[key]) for key, item in wanted.items()]
    elif isinstance(wanted, tuple | list) and isinstance(given, tuple | list):
        if len(wanted) != len(given):
            raise TypeError(
                f"The model was imported with {len(wanted)} inputs in this place; got {len(given)}."
            )
        pairs = list(zip(wanted, given, strict=True))
    elif isinstance(wanted, Mapping):
        keys = sorted(given) if isinstance(given, Mapping) else type(given).__name__
        raise TypeError(f"The model takes the keyword inputs {sorted(wanted)}; got {keys}.")
    elif wanted is None or isinstance(wanted, bool | int | float | str):
        if given != wanted:
            raise ValueError(
                f"The model was imported with the plain value {wanted!r} in this place, which is "
                f"built into its program; got {given!r}. Import it again with that value."
            )
        return {}
    else:
        raise TypeError(
            f"Expected a {type(wanted).__name__} of inputs; got {type(given).__name__}."
        )
    return {name: value for pair in pairs for name, value in _match(*pair).items()}


def _fits(shape: tuple[Any, ...], wanted: tuple[int | None, ...]) -> bool:
    pairs = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(w is None or s == w for s, w in pairs)


def _without(spec: Any) -> tuple[int | None, ...]:
    return tuple(size for i, size in enumerate(spec.shape) if i != spec.batch_axis)


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('batch' if size is None else str(size) for size in shape)})"


def _single_text(spec: Any) -> str:
    return "" if spec.batch_axis is None else f", or {_shape_text(_without(spec))} for one example"


def _becomes(given: np.dtype, wanted: np.dtype) -> bool:
    """A boolean can become an integer, an integer a wider one or a float, not the reverse."""
    kinds = "bifc"
    a, b = (kinds.index(_kind(dtype)) for dtype in (given, wanted))
    return a < b or (a == b and (a != 1 or np.can_cast(given, wanted)))


def _kind(dtype: np.dtype) -> str:
    if jnp.issubdtype(dtype, jnp.floating):
        return "f"  # bfloat16 is a kind of its own to NumPy
    return np.dtype(dtype).kind.replace("u", "i")
