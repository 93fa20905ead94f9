"""The layers of a model and how data flows between them."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array

from .._core import of_shape, public, unknown_name
from ..activations import Activation, as_activation
from ._channel import Affine, Channel
from ._places import Place
from ._program import Program, part
from ._receptive import Box, central_box, is_affine, receptive_box
from ._structure import Structure, activation_at, is_array, path_name, structure_of


class Topology(eqx.Module):
    """The layers of a model, found by tracing it, with its live parameters.

    A layer is a place where parameters meet data: a matrix product, a convolution, or a pooling.
    Its name is the path of its parameters in the model (`layers.0`), or the path of the pooling
    module. A layer used twice appears twice, as `name#0` and `name#1`. A product of two activations
    (attention scores) is no layer; loops (`scan`, `while`) are not looked into.

    Made by `topology_of`. A pytree whose leaves are the model's arrays, so a topology can be made
    inside `jax.grad` and a channel cut from it remains differentiable in the parameters.
    """

    model: Any
    args: tuple[Any, ...]
    _structure: Structure = eqx.field(static=True)
    _constants: tuple[Array, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The layers, in order of execution."""
        return tuple(self._structure.by_name)

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Pairs of layers where data flows from the first to the second past no other layer."""
        return self._structure.edges

    @property
    def nodes(self) -> "Nodes":
        """For each layer `{"input": {"activation", "shape"}, "output": {"activation", "shape"}}`.

        Shapes are those of one example, without a batch axis. The input's activation is the one
        that bounds what arrives (also through a flattening or a pooling), `None` if there is none.
        Looked up by name or by module, in order of execution.
        """
        return Nodes(self)

    def kind(self, layer: Any) -> str:
        """What a layer does: `linear`, `conv`, `avg_pool`, `max_pool`, `min_pool` or `pool`."""
        return self._structure.by_name[self.name_of(layer)].kind

    def successors(self, layer: Any) -> tuple[str, ...]:
        """The layers that read this one's output, past no other layer."""
        name = self.name_of(layer)
        return tuple(b for a, b in self.edges if a == name)

    def name_of(self, layer: Any, *, argument: str = "layer") -> str:
        """The name of a layer given by name, or as the module of the model that holds it.

        `argument` is what an error calls the layer.

        **Raises:** `KeyError` listing the layers if there is no such layer; `ValueError` if the
        layer is used more than once, listing its uses.
        """
        name = layer if isinstance(layer, str) else self._path_of(layer, argument)
        if name in self._structure.by_name:
            return name
        uses = [known for known in self.names if known.rpartition("#")[0] == name]
        if uses:
            raise ValueError(
                f"Layer {name!r} is used {len(uses)} times, on different data. Name the use you "
                f"mean: {', '.join(map(repr, uses))}."
            )
        raise unknown_name("layer", name, self.names)

    def _path_of(self, module: Any, argument: str) -> str:
        found, _ = jtu.tree_flatten_with_path(self.model, is_leaf=lambda node: node is module)
        for path, node in found:
            if node is module and path:
                return path_name(path)
        if module is self.model and len(self.names) == 1:
            return self.names[0]
        raise ValueError(
            f"`{argument}` is a {type(module).__name__} that is not a part of the model that the "
            "topology was made from, or not one layer of it (modules are compared by identity). Pass "
            "a name, one of "
            f"{', '.join(map(repr, self.names))}, or make the topology from the model that holds "
            "the module."
        )

    @public
    def channel(
        self,
        layer: Any,
        in_layer: Any = None,
        *,
        activation: str | Callable[[Array], Array] | None = None,
        spatial: Literal["position", "full"] = "position",
    ) -> Channel:
        """The function from the input of `in_layer` (by default `layer`) to the output of `layer`.

        The program is cut between the two places: the input of `in_layer` is set by intervention,
        and whatever bypasses it on another branch is held at its value for the example input that
        the topology was made with.

        **Arguments:**

        - `layer`, `in_layer`: a name, or a module of the model.
        - `activation`: replaces the activation of `layer`.
        - `spatial`: a convolution, a pooling or a token-wise product applies one map at every
            position. `"position"` measures that map at a central position, from its receptive field
            to the channels there; `"full"` takes the whole arrays.

        **Raises:** `KeyError` for an unknown layer; `ValueError` if `in_layer` does not lead to
        `layer`.
        """
        end = self._structure.by_name[self.name_of(layer)]
        start = (
            end
            if in_layer is None
            else self._structure.by_name[self.name_of(in_layer, argument="in_layer")]
        )
        program, shapes = self._structure.program, self._structure.program.shapes
        if end.pre not in program.reached_from((start.input,)):
            raise ValueError(
                f"`in_layer` {start.name!r} does not lead to `layer` {end.name!r}: data flows from "
                "`in_layer` to `layer`. Layers that lead to it: "
                f"{', '.join(map(repr, self._ancestors(end)))}."
            )
        out_box = central_box(shapes[end.pre].shape, end.positions, spatial)
        in_box = central_box(shapes[start.input].shape, (), "full")
        if spatial == "position":
            in_box = receptive_box(program, start.input, end.pre, out_box)
        positions = end.positions if spatial == "position" else ()
        fn = self._cut(start.input, end.pre, in_box, out_box, positions)
        affine = is_affine(program, start.input, end.pre)
        chosen = end.activation if activation is None else as_activation(activation)
        channel = Channel(
            fn,
            tuple(b - a for a, b in in_box),
            in_range=as_activation(start.in_activation).default_range,
            out_range=as_activation(end.bounds if activation is None else chosen).default_range,
            activation=chosen,
            affine=affine,
            name=end.name if start is end else f"{start.name} -> {end.name}",
        )
        if affine and fn.positions:
            # One position of a map that runs over many: its matrix is small and its program is not.
            return eqx.tree_at(lambda c: c.fn, channel, Affine(channel.weight, channel.bias))
        return channel

    def operation(self, layer: Any) -> Channel:
        """The bare operation of a linear layer, convolution or average pooling, on whole arrays.

        Without bias, normalisation folded into it, or activation: an affine channel whose `weight`
        says which input is connected to which output.
        """
        place = self._structure.by_name[self.name_of(layer)]
        shapes = self._structure.program.shapes
        in_box, out_box = (
            central_box(shapes[v].shape, (), "full") for v in (place.input, place.product)
        )
        fn = self._cut(place.input, place.product, in_box, out_box, ())
        return Channel(fn, shapes[place.input].shape, affine=True, name=place.name)

    @property
    def activations(self) -> dict[str, Activation | None]:
        """The activation of each layer, and those that end no layer, in order of execution.

        The others act on a sum of branches, on a normalised value, or on the input, and are named
        after the last layer that leads there: `after layers.2`. A pre-activation that other branches
        read as well as its activation ends its layer for all other purposes, but not here.
        """
        return {name: place.activation for name, place in self._structure.acting.items()}

    @public
    def activation_at(self, layer: str, parameters: float) -> Activation | None:
        """The activation of a name in `activations`; a learned one with its parameters near a number.

        Learned is one that reads the model's parameters, such as PReLU: in `activations` it is
        `None`. `None` here too if the layer has no activation.
        """
        return activation_at(self._structure, layer, parameters)

    @public
    def act(self, layer: str, pre_activation: Array) -> Array:
        """The activation of a name in `activations`, with the model's parameters if it has any."""
        place = self._structure.place_acting(layer)
        known = {place.pre: pre_activation}
        return self._structure.program.evaluate(place.output, self._leaves(), known)

    @public
    def run(
        self, x: Array, *, replace: Mapping[str, Callable[[Array], Array]] | None = None
    ) -> tuple[dict[str, Array], Array]:
        """Evaluate the model on one example, layer by layer.

        **Arguments:**

        - `x`: an example of the shape that the topology was made with.
        - `replace`: for some names in `activations`, a function of the pre-activation that takes the
            place of the activation.

        **Returns:** the pre-activations by the names in `activations` (for a pooling its result),
        and the first output of the model.

        **Raises:** `KeyError` if `replace` names a layer that does not exist.
        """
        acting = self._structure.acting
        replace = {
            layer if isinstance(layer, str) and layer in acting else self.name_of(layer): fn
            for layer, fn in (replace or {}).items()
        }
        x = of_shape("x", x, self.args[0].shape)
        leaves = eqx.tree_at(lambda topology: topology.args[0], self, x)._leaves()
        evaluate = self._structure.program.evaluate
        known: dict[int, Array] = {}
        pre_activations: dict[str, Array] = {}
        for place in acting.values():
            pre = pre_activations[place.name] = evaluate(place.pre, leaves, known)
            known[place.pre] = pre
            if place.name in replace:
                known[place.output] = replace[place.name](pre)
        return pre_activations, evaluate(self._structure.program.outputs[0], leaves, known)

    def _cut(
        self, source: int, target: int, in_box: Box, out_box: Box, positions: tuple[int, ...]
    ) -> "_Cut":
        program, others = part(self._structure.program, source, target)
        leaves = self._leaves()
        return _Cut(tuple(leaves[i] for i in others), program, in_box, out_box, positions)

    def _leaves(self) -> list[Array]:
        params, _ = eqx.partition((self.model, self.args), is_array)
        leaves = [jnp.asarray(leaf) for leaf in jtu.tree_leaves(params)]
        return [*leaves, *self._constants]

    def _ancestors(self, end: Place) -> list[str]:
        reaches = self._structure.program.reached_from
        return [p.name for p in self._structure.places if end.pre in reaches((p.input,))]

    def __repr__(self) -> str:
        rows = [("layer", "kind", "input", "output", "activation", "feeds")]
        for name, node in self.nodes.items():
            rows.append(
                (
                    name,
                    self.kind(name),
                    _size(node["input"]["shape"]),
                    _size(node["output"]["shape"]),
                    str(node["output"]["activation"] or "-"),
                    ", ".join(self.successors(name)) or "(output)",
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(("Topology", *lines))

    def to_networkx(self) -> Any:
        """The layers as a `networkx.DiGraph`; each node holds the dictionary of `nodes`."""
        import networkx as nx

        graph = nx.DiGraph()
        graph.add_nodes_from(self.nodes.items())
        graph.add_edges_from(self.edges)
        return graph


class Nodes(Mapping[str, dict[str, dict[str, Any]]]):
    """What is known of each layer of a topology: see `Topology.nodes`."""

    def __init__(self, topology: Topology):
        self._topology = topology

    def __getitem__(self, layer: Any) -> dict[str, dict[str, Any]]:
        structure = self._topology._structure
        place, shapes = structure.by_name[self._topology.name_of(layer)], structure.program.shapes
        return {
            side: {"activation": activation, "shape": tuple(shapes[value].shape)}
            for side, value, activation in (
                ("input", place.input, place.in_activation),
                ("output", place.output, place.activation),
            )
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self._topology.names)

    def __len__(self) -> int:
        return len(self._topology.names)

    def __repr__(self) -> str:
        return repr(dict(self))


@public
def topology_of(model: Callable[..., Any], x: Any, *args: Any) -> Topology:
    """The layers of a model, found by tracing `model(x, *args)` for **one example**.

    Works for any JAX callable that is a pytree of parameters: an Equinox module, or
    `jax.tree_util.Partial(fn, params)` and `functools.partial(fn, params)` for a plain function;
    residual branches, normalisation and attention included. A plain function that closes over its
    parameters works too, but then no gradient reaches them and its layers are named by what they
    do. Equinox modules are traced in inference mode (dropout off, running statistics).

    **Arguments:**

    - `model`: the callable; its first output that is an array is the network's output.
    - `x`: an example input, without a batch axis; an array or a `jax.ShapeDtypeStruct`.
    - `args`: what else the model takes, such as the `eqx.nn.State` of batch normalisation.

    **Raises:** `ValueError` if no layer is found, or if the model does not accept `x` (with the
    model's own complaint).

    Cost: one trace, cached for models of equal structure: new parameters cost nothing.

    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> model = eqx.nn.MLP(4, 2, width_size=3, depth=1, key=jax.random.key(0))
    >>> topology_of(model, jnp.zeros(4))
    Topology
    layer     kind    input  output  activation  feeds
    layers.0  linear  4      3       relu        layers.1
    layers.1  linear  3      2       -           (output)
    """
    if isinstance(model, functools.partial):
        model = jtu.Partial(model.func, *model.args, **model.keywords)
    if isinstance(x, jax.ShapeDtypeStruct):
        x = jnp.zeros(x.shape, x.dtype)
    if not is_array(x):
        raise TypeError(
            f"`x` must be an example input, an array without a batch axis; got {type(x).__name__}."
        )
    arguments = (jnp.asarray(x), *args)
    arrays, static = eqx.partition((model, arguments), is_array)
    leaves, treedef = jtu.tree_flatten(arrays)
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    structure, constants = structure_of(model, arguments[0], shapes, treedef, static)
    return Topology(model, arguments, structure, tuple(constants))


class _Cut(eqx.Module):
    """The function from a box of the first input of a program to a box of its output."""

    leaves: tuple[Array, ...]
    program: Program = eqx.field(static=True)
    in_box: Box = eqx.field(static=True)
    out_box: Box = eqx.field(static=True)
    positions: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        whole = self.program.shapes[0]
        # An intervention sets real numbers, also where the example held integers.
        if jnp.issubdtype(whole.dtype, jnp.inexact):
            x = x.astype(whole.dtype)
        if x.shape != whole.shape:
            # Outside the receptive field the value does not matter.
            x = jnp.zeros(whole.shape, x.dtype).at[_slices(self.in_box)].set(x)
        value = self.program.evaluate(self.program.outputs[0], (x, *self.leaves))
        return jnp.squeeze(value[_slices(self.out_box)], axis=self.positions)


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in box)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"
