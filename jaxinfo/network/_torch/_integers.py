"""Which whole numbers a program can compute, so that 32 bits stand for torch's 64 only where they do.

JAX has 32 bits unless told otherwise. Sums, products and the like are then right modulo 2^32, whatever
their size; the true value must fit where it is read: compared, divided, converted, returned. (An
index is not read so, as torch refuses one that is out of bounds.) So every value gets an interval
that holds its true numbers, for all inputs of the model's own dtypes, and whatever reads one that
does not fit is written down.
"""

import math
from collections.abc import Iterator
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from ._graph import Graph, Node, Ref, Spec, refs
from ._intervals import ANY, LARGEST, MODULAR, READING, TRUTH, Interval, hull, meet

# Entries are moved, and none is read.
_VIEWS = frozenset(
    """view reshape _unsafe_view view_copy _reshape_copy permute permute_copy transpose
    transpose_copy t t_copy unsqueeze unsqueeze_copy squeeze squeeze_copy expand expand_copy
    broadcast_to clone alias contiguous detach lift_fresh_copy _to_copy to convert_element_type
    flip roll""".split()
)
_MOVED = _VIEWS | frozenset(
    """where copy fill full_like new_full masked_fill index_put _unsafe_index_put masked_scatter put
    scatter index_copy index_fill slice_scatter select_scatter repeat repeat_interleave cat stack
    split split_copy split_with_sizes split_with_sizes_copy unbind unbind_copy slice slice_copy
    select select_copy diagonal diagonal_copy as_strided index _unsafe_index gather index_select take
    masked_select embedding unfold unfold_copy reflection_pad1d reflection_pad2d reflection_pad3d
    replication_pad1d replication_pad2d replication_pad3d pixel_shuffle pixel_unshuffle
    channel_shuffle native_channel_shuffle tril triu diag_embed constant_pad_nd""".split()
)
_WITH_ZEROS = frozenset("tril triu diag_embed constant_pad_nd".split())
# Entries are compared, and the first result is made of them; a second holds positions.
_CHOSEN = frozenset("amax amin max min sort topk kthvalue median cummax cummin fmax fmin".split())
_POOLED = frozenset(
    f"{kind}max_pool{n}d{rest}"
    for kind in ("", "adaptive_")
    for n in "123"
    for rest in ("", "_with_indices")
)
# The arguments whose entries the result is made of, where that is not the first.
_VALUES: dict[str, tuple[int, ...]] = {
    "where": (1, 2),
    "copy": (1,),
    "fill": (1,),
    "full_like": (1,),
    "new_full": (2,),
    **dict.fromkeys(("slice_scatter", "select_scatter", "fmax", "fmin"), (0, 1)),
    **dict.fromkeys(
        "masked_fill index_put _unsafe_index_put masked_scatter put constant_pad_nd".split(), (0, 2)
    ),
    **dict.fromkeys("scatter index_copy index_fill".split(), (0, 3)),
}
# The argument that is an index. Where the bounds are those of one axis, a valid one tells its values.
_INDEX = {
    **dict.fromkeys("embedding _embedding_bag _embedding_bag_forward_only".split(), 1),
    **dict.fromkeys("index take index_put put".split(), 1),
    **dict.fromkeys("index_select gather scatter scatter_add scatter_reduce".split(), 2),
    **dict.fromkeys("index_add index_copy index_fill index_reduce".split(), 2),
}
# The argument that says where the bags begin among the indices: as valid as these.
_OFFSETS: dict[str, int] = dict.fromkeys("_embedding_bag _embedding_bag_forward_only".split(), 2)
_OVER_AXES = _CHOSEN | frozenset(
    "sum prod cumsum cumprod argmax argmin argsort count_nonzero".split()
)
_SHAPES = frozenset("slice slice_copy slice_scatter view reshape as_strided".split())


def refuse_wide(graph: Graph) -> None:
    """Raise if 32 bits do not hold the whole numbers of a program, and JAX has no more."""
    if graph.wide and not jax.config.read("jax_enable_x64"):
        listed = "\n".join(f"  {place}" for place in graph.wide)
        raise ValueError(
            "torch computes whole numbers in up to 64 bits, JAX in 32 unless told otherwise, and for "
            "some inputs of the model's own dtypes 32 bits do not hold what is read by\n"
            f"{listed}\nCall `jax.config.update('jax_enable_x64', True)` first, or bound the numbers "
            "in the torch model (`.clamp`, `%`, an input of a narrower dtype)."
        )


def past_32_bits(graph: Graph) -> tuple[str, ...]:
    """The operators that read whole numbers which 32 bits may not hold, with their modules."""
    return _Analysis(graph).places()


class _Analysis:
    """One pass over a program, in order of execution."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.of: dict[str, Any] = {}
        self.found: dict[str, None] = {}
        # Conversions of floating-point numbers end at the ends of 32 bits: beyond, not even modulo.
        self.ended: set[str] = set()
        self.producer = {node.name: node for node in graph.nodes}
        self.indices = self._valid_indices()

    def places(self) -> tuple[str, ...]:
        for name, spec in self.graph.specs.items():
            if name not in self.producer:
                self.of[name] = self._known(name, _range_of_dtype(spec, held=True))
        for name, values in self.graph.constants.items():
            self.of[name] = _range_of(values)
        for node in self.graph.nodes:
            result = self._result(node)
            self.of[node.name] = (
                result if isinstance(result, list) else self._known(node.name, result)
            )
        if not all(self._is_held(ref) for ref in refs(self.graph.outputs)):
            self.found.setdefault("the caller, as the model returns them")
        return tuple(self.found)

    def _valid_indices(self) -> dict[str, Interval]:
        """What the values that serve as indices can be, as torch refuses any others."""
        bounds: dict[str, Interval] = {}
        for node in self.graph.nodes:
            name = _short(node)
            if name not in ("embedding", "index_select", "gather", "index"):
                continue
            spec = self._spec(node.args[0])
            if name == "index":
                pairs = list(enumerate(node.args[1]))
                if any(isinstance(i, Ref) and not is_whole(self._spec(i)) for _, i in pairs):
                    continue  # a mask is an index into several axes
            else:
                axis = 0 if name == "embedding" else node.args[1]
                pairs = [(axis, node.args[_INDEX[name]])]
            for axis, index in pairs:
                size = spec.shape[axis] if spec is not None and spec.shape else None
                if isinstance(index, Ref) and size:
                    root, lowest = self._root(index.name), -size if name == "index" else 0
                    bounds[root] = meet(bounds.get(root, ANY), (lowest, size - 1))
        return bounds

    def _root(self, name: str) -> str:
        """The first value whose entries, all of them, are the entries of this one."""
        while (node := self.producer.get(name)) is not None and _short(node) in _VIEWS:
            here, source = self._spec(Ref(name)), self._spec(node.args[0])
            if not (here and source and is_whole(here) and is_whole(source)):
                break
            if not np.can_cast(source.dtype, here.dtype):
                break
            name = node.args[0].name
        return name

    def _known(self, name: str, interval: Interval) -> Interval:
        return meet(interval, self.indices[name]) if name in self.indices else interval

    def _spec(self, value: Any) -> Spec | None:
        spec = self.graph.specs.get(value.name) if isinstance(value, Ref) else None
        return spec if isinstance(spec, Spec) else None

    def _interval(self, value: Any) -> Interval:
        """Of an argument: a value, a plain number, or several of them."""
        if isinstance(value, Ref):
            found = self.of[value.name]
            return hull(found) if isinstance(found, list) else found
        if isinstance(value, tuple | list) and value:
            return hull(self._interval(item) for item in value)
        if isinstance(value, int | float) and not math.isnan(value):
            return value, value
        return ANY

    def _is_held(self, value: Ref) -> bool:
        """Whether 32 bits hold the true value."""
        spec = self._spec(value)
        return not is_whole(spec) or _within(self.of[value.name], _held_dtype(spec.dtype))

    def _result(self, node: Node) -> Any:
        """The interval of a result, or a list of them, all arguments being accounted for."""
        name, spec = _short(node), node.specs
        if node.operator == "operator.getitem":
            found = self.of[node.args[0].name]
            return found[node.args[1]] if isinstance(found, list) else found
        if name.startswith("sym_") or node.operator.startswith(("operator.", "math.")):
            return self._size(node)
        first = spec[0] if isinstance(spec, tuple) and spec else spec
        moved = name in _MOVED and is_whole(first)
        self._look(node, name, moved, moved or (name in MODULAR and is_whole(first)))
        arguments = _in_order(node, name)
        if name in _MOVED | _CHOSEN | _POOLED:
            values = [arguments[i] for i in _VALUES.get(name, (0,)) if i < len(arguments)]
            found = hull([*map(self._interval, values), *[(0, 0)] * (name in _WITH_ZEROS)])
        elif rule := {**MODULAR, **READING}.get(name):
            found = rule([self._interval(a) for a in arguments], self._count(node, name))
        else:
            found = ANY
        if moved:
            self._carry(node, name, found)
        if not isinstance(spec, tuple):
            return _in_dtype(found, spec)
        rest = (0, self._count(node, name)) if name in _CHOSEN | _POOLED else found
        return [_in_dtype(rest if i else found, each) for i, each in enumerate(spec)]

    def _size(self, node: Node) -> Interval:
        """Arithmetic of sizes is Python's, and exact."""
        name = _short(node)
        if name == "sym_size":
            spec = self._spec(node.args[0])
            size = spec.shape[node.args[1]] if spec is not None else None
            return (0, LARGEST) if size is None else (size, size)
        if name in ("add", "sub", "mul", "neg"):
            return MODULAR[name]([self._interval(argument) for argument in node.args], 1)
        return (0, LARGEST) if name == "sym_numel" else ANY

    def _carry(self, node: Node, name: str, found: Interval) -> None:
        """Remember numbers that a conversion from floating point may not have reached."""
        values = [node.args[i] for i in _VALUES.get(name, (0,)) if i < len(node.args)]
        sources = list(refs(values))
        if any(self._spec(ref) and not is_whole(self._spec(ref)) for ref in sources):
            valid = meet(found, self.indices.get(node.name, ANY))
            fresh = not _within(valid, _held_dtype(np.dtype(np.int64)))
        else:
            fresh = False
        if fresh or any(ref.name in self.ended for ref in sources):
            self.ended.add(node.name)

    def _look(self, node: Node, name: str, moved: bool, modular: bool) -> None:
        """Write the operator down if it reads a number that may not be there."""
        read = False
        for i, argument in enumerate([*node.args, *node.kwargs.values()]):
            if i in (_INDEX.get(name), _OFFSETS.get(name)):
                continue
            for ref in refs(argument):
                unread = moved or (modular and ref.name not in self.ended)
                read |= not unread and not self._is_held(ref)
            if name not in _SHAPES:
                read |= any(not _within((n, n), np.dtype(np.int32)) for n in _whole(argument))
        if read:
            where = f" in {node.scope}" if node.scope else ""
            self.found.setdefault(f"{node.operator}{where}")

    def _count(self, node: Node, name: str) -> int:
        """How many entries of the first argument go into one of the result, or can be counted."""
        spec = self._spec(node.args[name == "bucketize"]) if node.args else None
        if spec is None or not spec.shape:
            return 1
        axes: Any = [-1]  # of products, and of what is searched
        if name in _POOLED:
            axes = range(2 - len(spec.shape), 0)
        if name in _OVER_AXES:
            at = 2 if name in ("topk", "kthvalue") else 1
            given = node.args[at] if len(node.args) > at else node.kwargs.get("dim")
            default = [-1] if name in ("topk", "kthvalue", "sort", "argsort") else []
            axes = np.atleast_1d(default if given is None else given).astype(int).tolist()
        sizes = [spec.shape[axis] for axis in axes or range(len(spec.shape))]
        known = [size for size in sizes if size is not None]
        return math.prod(known) if len(known) == len(sizes) else LARGEST


def _in_order(node: Node, name: str) -> list[Any]:
    """The arguments as the rules take them; an end that is not given lies beyond all numbers."""
    if name in ("clamp", "clamp_min", "clamp_max"):
        given = dict(zip(("x", "min", "max"), node.args, strict=False)) | dict(node.kwargs)
        low, high = given.get("min"), given.get("max")
        if name == "clamp":
            low, high = -math.inf if low is None else low, math.inf if high is None else high
            return [given["x"], low, high]
        return [given["x"], high if low is None else low]
    return [*node.args, *([node.kwargs["alpha"]] if "alpha" in node.kwargs else [])]


def _short(node: Node) -> str:
    """`add` of `aten.add.Tensor`."""
    return node.operator.split(".")[1]


def _whole(structure: Any) -> Iterator[int]:
    """The whole numbers among plain arguments."""
    if isinstance(structure, tuple | list):
        for item in structure:
            yield from _whole(item)
    elif isinstance(structure, int):
        yield structure


def is_whole(spec: Any) -> TypeGuard[Spec]:
    """Whether a value is an array of whole numbers."""
    return isinstance(spec, Spec) and jnp.issubdtype(spec.dtype, jnp.integer)


def wrapped(number: int, dtype: np.dtype) -> int:
    """A whole number as it is in a dtype, modulo 2 to its bits."""
    info = jnp.iinfo(dtype)
    return (number - int(info.min)) % 2**info.bits + int(info.min)


def _held_dtype(dtype: np.dtype) -> np.dtype:
    """What a 32-bit JAX has for a dtype of whole numbers."""
    return np.dtype(f"{dtype.kind}4") if dtype.itemsize == 8 else dtype


def _within(interval: Interval, dtype: np.dtype) -> bool:
    return int(jnp.iinfo(dtype).min) <= interval[0] and interval[1] <= int(jnp.iinfo(dtype).max)


def _range_of_dtype(spec: Any, held: bool = False) -> Any:
    if not isinstance(spec, Spec):
        return ANY
    if not is_whole(spec):
        return TRUTH if spec.dtype == bool else ANY
    info = jnp.iinfo(_held_dtype(spec.dtype) if held else spec.dtype)
    return int(info.min), int(info.max)


def _range_of(values: np.ndarray) -> Interval:
    if not values.size:
        return (0, 0)
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        return ANY
    low, high = values.min().item(), values.max().item()
    return (int(low), int(high)) if values.dtype.kind == "b" else (low, high)


def _in_dtype(interval: Interval, spec: Any) -> Interval:
    """What an interval becomes in the dtype that torch declares, where whole numbers wrap."""
    if isinstance(spec, Spec) and spec.dtype == bool:
        return TRUTH
    if not is_whole(spec):
        return interval
    if not _within(interval, spec.dtype):
        return _range_of_dtype(spec)
    return math.floor(interval[0]), math.ceil(interval[1])
