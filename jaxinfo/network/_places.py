"""Where parameters meet data: the layers of a program.

A `Place` is an affine operation with one operand from the data and one from the parameters
(`dot_general`, `conv_general_dilated`), or a pooling. Around it stand

    input -> [layout] -> operation -> [bias, scale, layout] -> pre -> [elementwise] -> output

and this file finds the values `input`, `pre` and `output`. (`_elementwise` says how far an activation
reaches, and which function it is.)
"""

import dataclasses
import math
import os.path
import re
from collections.abc import Sequence

from ..activations import Activation
from ._elementwise import acts_on_one, exits, function_between, is_uniform, learned_exit
from ._program import Constant, Op, Program
from ._receptive import is_affine

POOL_SCOPE = "jaxinfo.pool:"  # marks the name of a pooling module, which has no parameters
FURTHER = "args."  # begins the paths of what the model takes besides the example

_POOLS = {
    "reduce_window_sum": "avg_pool",
    "reduce_window_max": "max_pool",
    "reduce_window_min": "min_pool",
    "reduce_window": "pool",
}
_PARAMETRIZED = re.compile(r"(^|\.)parametrizations\.([^.]+)\..*")
_WRAPPED = re.compile(r"[^.]+\.([^.]+)/([^./]+)/[^./]+$")
_COPIES = frozenset("concatenate pad rev slice split broadcast_in_dim reshape squeeze".split())
_LAYOUT = frozenset(("broadcast_in_dim", "squeeze", "transpose", "reshape", "convert_element_type"))


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """One layer: its name, and the numbers of its values in the program."""

    name: str
    kind: str
    parameters: tuple[str, ...]
    input: int
    product: int
    """The operation's result in its final layout, before bias and scale."""
    pre: int
    output: int
    in_activation: Activation | None
    """What bounds the input: an earlier activation, through layout and pooling."""
    activation: Activation | None
    bounds: Activation | None
    """What bounds the output: the activation, or for a pooling the input's."""
    positions: tuple[int, ...]
    """Axes of the output along which the same map is applied: pixels of a convolution, tokens."""


def find_places(program: Program, paths: Sequence[str | None]) -> tuple[Place, ...]:
    """The places of a program; `paths[i]` names input `i`, or is `None` for the data."""
    data = program.reached_from(i for i, path in enumerate(paths) if path is None)
    owners = _owners(program, paths)
    found: list[Place] = []
    behind: dict[int, Activation | None] = {}  # output value of a place -> its activation
    for op in program.ops:
        operands = [value for value in op.values_in if value in data]
        if op.name in ("dot_general", "conv_general_dilated"):
            others = [v for v in op.inputs if isinstance(v, int) and v not in data]
            if len(operands) != 1 or not others:
                continue  # a product of two activations, or of data with itself: no place
            parameters = tuple(sorted(owners.get(others[0], frozenset())))
            kind = "linear" if op.name == "dot_general" else "conv"
        elif op.name in _POOLS and len(operands) == 1:
            parameters, kind = (), _POOLS[op.name]
        else:
            continue
        start = _walk_back(program, operands[0])
        if kind == "conv":
            start = _before_padding(program, start)
        product, pre, positions = _walk_on(program, op, data, _positions(op, operands[0], program))
        output, activation = _activation_after(program, pre, data)
        before = _activation_before(program, start, behind)
        behind[output] = activation if parameters or activation else before
        found.append(
            Place(
                _name(op, parameters, kind),
                kind,
                parameters,
                start,
                product,
                pre,
                output,
                before,
                activation,
                behind[output],
                positions,
            )
        )
    return _numbered(found)


def find_other_activations(
    program: Program, data: frozenset[int], places: Sequence[Place]
) -> tuple[Place, ...]:
    """The activations that end no layer, as places, by the value `pre` that they act on.

    After a sum of branches, a normalisation, on the input itself; or beside a branch that reads the
    pre-activation as well. A layer with one activation of this kind keeps its name; the others are
    places of the kind `other`, named after the last layer that leads there.
    """
    by_pre = {place.pre: place for place in places}
    outputs = {place.output for place in places}
    leads = {place.name: program.reached_from((place.output,)) for place in places}
    found = []

    def inside(pre: int, output: int) -> set[int]:
        ops = (program.ops[i] for i in program.needed_for(output, (pre,)))
        return {value for op in ops for value in op.outputs} - {output}

    parts = set().union(*(inside(place.pre, place.output) for place in places))

    def add(pre: int, output: int, activation: Activation | None) -> None:
        parts.update(inside(pre, output))
        before = [name for name, reached in leads.items() if pre in reached]
        place = by_pre.pop(pre, None) or Place(
            f"after {before[-1] if before else 'input'}",
            *("other", (), pre, pre, pre, pre, None, None, None, ()),
        )
        found.append(
            dataclasses.replace(place, output=output, activation=activation, bounds=activation)
        )

    for pre in sorted(data):
        if pre in parts:
            continue
        if pre in program.producer and pre not in by_pre and acts_on_one(program, pre, data):
            continue  # a part of what acts on the value before it
        if (learned := learned_exit(program, pre, data)) is not None:
            add(pre, learned, None)
            continue
        leaving, parametric = exits(program, pre, data)
        if parametric:
            continue
        acting: list[int] = []
        for output in sorted(leaving - {pre} - outputs):
            if any(_is_affine_past(program, pre, via, output) for via in (pre, *acting)):
                continue
            acting.append(output)
            add(pre, output, function_between(program, pre, output))
    return _numbered(found)


def _is_affine_past(program: Program, pre: int, via: int, output: int) -> bool:
    """Whether all that `output` takes from `pre` it takes through `via`, and in an affine way."""
    ops = (program.ops[i] for i in program.needed_for(output, (via,)))
    past = via == pre or not any(pre in op.values_in for op in ops)
    return past and is_affine(program, via, output)


def _owners(program: Program, paths: Sequence[str | None]) -> dict[int, frozenset[str]]:
    """The paths of the parameters that each value not reached by data is made from."""
    owners = {i: frozenset((path,)) for i, path in enumerate(paths) if path is not None}
    for op in program.ops:
        made_from = frozenset().union(*(owners.get(v, frozenset()) for v in op.values_in))
        if made_from:
            owners.update((value, made_from) for value in op.outputs)
    return owners


def _name(op: Op, parameters: tuple[str, ...], kind: str) -> str:
    if POOL_SCOPE in op.scope:
        return op.scope.rsplit(POOL_SCOPE, 1)[1].split("/", 1)[0]
    # What a weight is made from (weight_norm, spectral_norm) is that weight's: torch's
    # `fc.parametrizations.weight.original0`, Flax's `WeightNorm_0.Dense_0/kernel/scale`.
    whole = (_PARAMETRIZED.sub(r"\1\2", parameter) for parameter in parameters)
    whole = sorted({_WRAPPED.sub(r"\1.\2", parameter) for parameter in whole})
    # A product with a parameter and with a further argument is the parameter's.
    whole = [path for path in whole if not path.startswith(FURTHER)] or whole
    if not whole:
        return kind
    if len(whole) == 1:
        return whole[0].rpartition(".")[0] or whole[0]
    return os.path.commonpath([p.replace(".", "/") for p in whole]).replace("/", ".") or kind


def _numbered(places: list[Place]) -> tuple[Place, ...]:
    """Names made unique: the uses of a layer used twice are `name#0` and `name#1`."""
    names = [place.name for place in places]
    seen: dict[str, int] = {}
    unique = []
    for place in places:
        if names.count(place.name) > 1:
            use = seen.setdefault(place.name, 0)
            seen[place.name] += 1
            place = dataclasses.replace(place, name=f"{place.name}#{use}")
        unique.append(place)
    return tuple(unique)


def _positions(op: Op, operand: int, program: Program) -> tuple[int, ...]:
    """Axes of the operation's result along which the same map is applied."""
    if op.name == "conv_general_dilated":
        return tuple(op.params["dimension_numbers"].out_spec[2:])
    if op.name in _POOLS:
        return tuple(i for i, size in enumerate(op.params["window_dimensions"]) if size > 1)
    (contract_l, contract_r), (batch_l, batch_r) = op.params["dimension_numbers"]
    n_l, n_r = (len(program.shape(v)) for v in op.inputs)
    free_l = [i for i in range(n_l) if i not in contract_l and i not in batch_l]
    free_r = [i for i in range(n_r) if i not in contract_r and i not in batch_r]
    first = len(batch_l)
    if op.inputs[0] == operand:
        return tuple(range(first, first + len(free_l)))
    return tuple(range(first + len(free_l), first + len(free_l) + len(free_r)))


def _walk_back(program: Program, value: int) -> int:
    """Undo the layout that a layer gives its own input: added axes of size one, and transposes.

    A flattening takes axes away, so it is never undone: it is the user's.
    """
    while value in program.producer:
        op = program.ops[program.producer[value]]
        if op.name not in ("broadcast_in_dim", "reshape", "transpose", "convert_element_type"):
            break
        (source,) = op.values_in
        if op.name in ("broadcast_in_dim", "reshape") and not (
            len(program.shape(source)) < len(program.shape(value))
            and math.prod(program.shape(source)) == math.prod(program.shape(value))
        ):
            break
        if len(program.consumers.get(value, ())) > 1:
            break  # others read it in this layout, so the layout is not the layer's own
        value = source
    return value


def _before_padding(program: Program, value: int) -> int:
    """The image that a padded one is made of: circular, reflected or replicated borders, or `jnp.pad`.

    All of the padded image has to be copies of entries of one smaller value, and constants.
    """
    sources = {value}
    while (latest := max(sources)) in program.producer:
        op = program.ops[program.producer[latest]]
        if op.name not in _COPIES:
            break
        sources = (sources - {latest}) | set(op.values_in)
        if not sources:
            break
        if len(sources) == 1:
            (source,) = sources
            smaller = math.prod(program.shape(source)) < math.prod(program.shape(value))
            if smaller and len(program.shape(source)) == len(program.shape(value)):
                return _before_padding(program, source)  # of one axis after the other
    return value


def _walk_on(
    program: Program, op: Op, data: frozenset[int], positions: tuple[int, ...]
) -> tuple[int, int, tuple[int, ...]]:
    """Follow bias, scale and layout from an operation's result to the pre-activation."""
    (value,) = op.outputs
    product = None
    is_pool = op.name in _POOLS
    while len(consumers := program.consumers.get(value, ())) == 1 and value not in program.outputs:
        after = program.ops[consumers[0]]
        others = [v for v in after.inputs if v != value]
        # Layout made inside another layer is that layer's own; `vmap` makes it further out.
        kept = _kept_axes(program, after, value)
        if (kept is not None or after.name == "transpose") and not _is_inside(op, after):
            break
        if kept is not None:
            positions = tuple(kept.index(i) for i in positions if i in kept)
        elif after.name == "transpose":
            positions = tuple(
                sorted(tuple(after.params["permutation"]).index(i) for i in positions)
            )
        elif after.name in ("add", "sub", "mul", "div"):
            (other,) = others if others else (value,)
            if other in data or (after.name == "div" and after.inputs[0] != value):
                break
            if is_pool and after.name == "div":
                pass  # by the size of the window, or by how much of it lies on the image
            elif is_uniform(program, other, data) and not _size_one_parameter(program, other):
                break  # a scale by a plain number belongs to whatever elementwise function follows
            elif product is None:
                product = value
        elif after.name != "convert_element_type":
            break
        (value,) = after.outputs
    return value if product is None else product, value, positions


def _kept_axes(program: Program, op: Op, value: int) -> list[int] | None:
    """The axes that are left where an operation only takes axes of size one away, else `None`."""
    shape = program.shape(value)
    if op.name == "squeeze":
        return [i for i in range(len(shape)) if i not in op.params["dimensions"]]
    if op.name == "reshape":  # Flax takes the axis of a batch away like this
        result = program.shape(op.outputs[0])
        lead = len(shape) - len(result)
        if lead > 0 and shape == (1,) * lead + result:
            return list(range(lead, len(shape)))
    return None


def _is_inside(op: Op, other: Op) -> bool:
    """Whether an operation was traced in the scope of the other, or further in."""
    inner, outer = (re.findall(r"[^/()]+", o.scope) for o in (op, other))
    return inner[: len(outer)] == outer


def _size_one_parameter(program: Program, value: int | Constant) -> bool:
    """Whether a value of one entry comes from the inputs: the bias of a layer with one output."""
    if not isinstance(value, int) or not program.shape(value):
        return False
    while value in program.producer:
        op = program.ops[program.producer[value]]
        if op.name not in _LAYOUT or not op.values_in:
            return False
        (value,) = op.values_in
    return value < program.n_inputs + program.n_constants


def _activation_after(
    program: Program, pre: int, data: frozenset[int]
) -> tuple[int, Activation | None]:
    """The elementwise function that everything after `pre` sees, and the value it makes."""
    leaving, parametric = exits(program, pre, data)
    if len(leaving) != 1 or (output := leaving.pop()) == pre:
        return pre, None
    if parametric:
        return pre, None  # a learned activation is not one function; the layer ends before it
    return output, function_between(program, pre, output)


def _activation_before(
    program: Program, value: int, behind: dict[int, Activation | None]
) -> Activation | None:
    """The activation whose range the value inherits: through layout, and through pooling."""
    while value not in behind and value in program.producer:
        op = program.ops[program.producer[value]]
        if op.name not in _LAYOUT or len(op.values_in) != 1:
            return None
        (value,) = op.values_in
    return behind.get(value)
