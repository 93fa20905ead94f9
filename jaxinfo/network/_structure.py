"""What a model's code and shapes determine: its program, its layers, how they follow each other.

Found by one trace, and kept: a model with other parameters of the same shapes has the same structure.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

from .._core import unknown_name
from ..activations import Activation, as_activation
from ._elementwise import ElementwiseRegion
from ._places import FURTHER, POOL_SCOPE, Place, find_other_activations, find_places
from ._program import Program, trace


@dataclasses.dataclass(frozen=True, eq=False)
class Structure:
    """What a model's code and shapes determine, whatever its parameters are."""

    program: Program
    places: tuple[Place, ...]
    data: frozenset[int]
    """The values that depend on the example."""

    def __repr__(self) -> str:
        return f"Structure({', '.join(self.by_name)})"

    @functools.cached_property
    def by_name(self) -> dict[str, Place]:
        return {place.name: place for place in self.places}

    @functools.cached_property
    def acting(self) -> dict[str, Place]:
        """The layers, and the activations that end none, by name in order of execution."""
        others = find_other_activations(self.program, self.data, self.places)
        found = {place.name: place for place in (*self.places, *others)}
        return dict(sorted(found.items(), key=lambda item: item[1].pre))

    def place_acting(self, layer: str) -> Place:
        """The one of that name in `acting`."""
        if layer not in self.acting:
            raise unknown_name("layer", layer, self.acting)
        return self.acting[layer]

    @functools.cached_property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Pairs of layers where the second reads the first without another layer between."""
        inputs = {place.input for place in self.places}
        found = []
        for place in self.places:
            # Walk on from the output, but not through the operation of another layer.
            reached = {place.pre, place.output}
            for op in self.program.ops:
                behind_a_layer = any(o in self._operations for o in op.outputs)
                if not behind_a_layer and not reached.isdisjoint(op.values_in):
                    reached.update(op.outputs)
            found += [
                (place.name, other.name)
                for other in self.places
                if other is not place and other.input in reached & inputs
            ]
        return tuple(found)

    @functools.cached_property
    def _operations(self) -> frozenset[int]:
        """All values strictly after a layer's input and up to its pre-activation."""
        between = set()
        for place in self.places:
            reached = self.program.reached_from((place.input,))
            for i in self.program.needed_for(place.pre, (place.input,)):
                between.update(reached.intersection(self.program.ops[i].outputs))
        return frozenset(between)


@functools.lru_cache(maxsize=512)
def activation_at(structure: Structure, layer: str, parameters: float) -> Activation | None:
    """See `Topology.activation_at`; kept, since what is compiled with it goes by its identity."""
    place = structure.place_acting(layer)
    if place.activation is not None or place.output == place.pre:
        return place.activation
    return as_activation(ElementwiseRegion(structure.program, place.pre, place.output, parameters))


# Structures by shapes and code. A plain function is not kept: what it closes over may change.
_structures: dict[Any, Structure] = {}


def structure_of(
    model: Any, x: Array, shapes: tuple[Any, ...], treedef: Any, static: Any
) -> tuple[Structure, list[Array]]:
    """The structure of a model, and the constants it closes over; traced once for equal code."""
    static_leaves, static_treedef = jtu.tree_flatten(static)
    key = (shapes, treedef, tuple(static_leaves), static_treedef)
    try:
        if key in _structures:
            return _structures[key], []
    except TypeError:  # something in the model cannot be hashed: trace it anew each time
        key = None

    def run(leaves: list[Array]) -> list[Array]:
        model, (x, *rest) = eqx.combine(jtu.tree_unflatten(treedef, leaves), static)
        model = eqx.nn.inference_mode(_with_named_pools(model))
        return [leaf for leaf in jtu.tree_leaves(model(x, *rest)) if eqx.is_array(leaf)]

    try:
        program, constants = trace(run, list(shapes))
    except Exception as error:
        raise ValueError(
            f"The model does not accept an example of shape {x.shape} and type {x.dtype}: {error}\n"
            "Expected: `x` is one example, without a batch axis, that `model(x)` accepts."
        ) from error
    names = jtu.tree_flatten_with_path(jtu.tree_unflatten(treedef, shapes))[0]
    paths = [_input_name(path, isinstance(model, jtu.Partial)) for path, _ in names]
    places = find_places(program, paths)
    data = program.reached_from(i for i, path in enumerate(paths) if path is None)
    structure = Structure(program, places, data)
    if not places:
        raise ValueError(
            "No layer was found in the model: no place where a parameter meets the data in a "
            "matrix product or a convolution, and no pooling. Layers inside loops (`scan`, "
            "`while`) are not seen, and parameters must reach the model as arrays in its pytree: "
            "bind those of a plain function with `jax.tree_util.Partial(fn, params)`."
        )
    if key is not None and not constants and jtu.tree_leaves(eqx.filter(model, is_array)):
        _structures[key] = structure
    return structure, constants


class _PoolNamed(eqx.Module):
    """A pooling module that leaves the name of its place in the model in what is traced."""

    module: Callable[..., Any]
    path: str = eqx.field(static=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with jax.named_scope(POOL_SCOPE + self.path):
            return self.module(*args, **kwargs)


def _with_named_pools(model: Any) -> Any:
    def is_pool(node: Any) -> bool:
        return isinstance(node, eqx.nn.Pool)

    return jtu.tree_map_with_path(
        lambda path, node: _PoolNamed(node, path_name(path)) if is_pool(node) else node,
        model,
        is_leaf=is_pool,
    )


def _input_name(path: tuple[Any, ...], bound: bool) -> str | None:
    """The name of an input of the traced function: a path in the model, or `None` for the data."""
    argument, *rest = path
    if argument.idx == 0:
        if bound:  # args and keywords of `Partial(fn, params)`: name what is inside `params`
            rest = rest[2 if len(rest) > 2 else 1 :]
        return path_name(tuple(rest))
    return None if rest[0].idx == 0 else f"{FURTHER}{path_name(tuple(rest))}"


def path_name(path: tuple[Any, ...]) -> str:
    return jtu.keystr(path, simple=True, separator=".")


def is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, np.ndarray)
