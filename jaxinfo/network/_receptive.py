"""Which part of one value another value can depend on, and whether it does so affinely.

A box gives for each axis the half-open interval `(start, stop)`. Boxes are conservative: an
operation without a rule of its own depends on all of its operands.
"""

from .._core import one_of
from ._program import Op, Program, is_elementwise

Box = tuple[tuple[int, int], ...]

_REDUCTIONS = frozenset(
    "reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or argmax argmin".split()
)


def receptive_box(program: Program, source: int, target: int, box: Box) -> Box:
    """The smallest box of `source` known to hold all that the `box` of `target` depends on."""
    reached = program.reached_from((source,))
    boxes: dict[int, Box] = {target: box}
    for i in reversed(program.needed_for(target, (source,))):
        op = program.ops[i]
        for result in op.outputs:
            if result not in boxes:
                continue
            for position, value in enumerate(op.inputs):
                if isinstance(value, int) and value in reached:
                    shape = program.shapes[value].shape
                    seen = _clip(_through(program, op, position, boxes[result]), shape)
                    if all(a < b for a, b in seen):
                        boxes[value] = _union(boxes.get(value), seen)
    return boxes.get(source, tuple((0, 0) for _ in program.shapes[source].shape))


def is_affine(program: Program, source: int, target: int) -> bool:
    """Whether `target` is an affine function of `source`, the rest held fixed."""
    reached = program.reached_from((source,))
    for i in program.needed_for(target, (source,)):
        op = program.ops[i]
        varying = [j for j, v in enumerate(op.inputs) if isinstance(v, int) and v in reached]
        if varying and not _affine_in(op, varying):
            return False
    return True


def _affine_in(op: Op, varying: list[int]) -> bool:
    match op.name:
        case "add" | "sub" | "add_any" | "neg" | "copy" | "concatenate" | "convert_element_type":
            return True
        case "reshape" | "broadcast_in_dim" | "transpose" | "squeeze" | "rev" | "slice":
            return True
        case "reduce_sum" | "reduce_window_sum" | "cumsum" | "pad" | "reduce_precision":
            return True
        case "mul" | "dot_general":
            return len(varying) == 1
        case "conv_general_dilated" | "div" | "gather" | "dynamic_slice":
            return varying == [0]
        case "select_n":
            return 0 not in varying
    return False


def _through(program: Program, op: Op, position: int, box: Box) -> Box:
    shape = program.shape(op.inputs[position])
    everything = tuple((0, size) for size in shape)
    params = op.params
    if is_elementwise(op):
        # A scalar operand is spread over all entries.
        return box if len(shape) == len(box) else everything
    match op.name:
        case "transpose":
            inverse = {axis: i for i, axis in enumerate(params["permutation"])}
            return tuple(box[inverse[axis]] for axis in range(len(shape)))
        case "squeeze":
            removed, kept = set(params["dimensions"]), iter(box)
            return tuple((0, 1) if i in removed else next(kept) for i in range(len(shape)))
        case "broadcast_in_dim":
            onto = params["broadcast_dimensions"]
            return tuple(
                (0, 1) if size == 1 else box[axis] for size, axis in zip(shape, onto, strict=True)
            )
        case "reshape":
            result = program.shapes[op.outputs[0]].shape
            if [s for s in shape if s != 1] != [s for s in result if s != 1]:
                return everything
            kept = iter(interval for interval, s in zip(box, result, strict=True) if s != 1)
            return tuple((0, 1) if size == 1 else next(kept) for size in shape)
        case "conv_general_dilated" if position == 0:
            if any(d != 1 for d in params["lhs_dilation"]):
                return everything
            spec, seen = params["dimension_numbers"], list(everything)
            kernel = program.shape(op.inputs[1])
            for i, (axis, out) in enumerate(zip(spec.lhs_spec[2:], spec.out_spec[2:], strict=True)):
                seen[axis] = _window(
                    box[out],
                    kernel[spec.rhs_spec[2 + i]],
                    params["window_strides"][i],
                    params["rhs_dilation"][i],
                    params["padding"][i][0],
                )
            seen[spec.lhs_spec[0]] = box[spec.out_spec[0]]
            return tuple(seen)
        case name if name.startswith("reduce_window"):
            if any(d != 1 for d in params["base_dilation"]):
                return everything
            return tuple(
                _window(*window)
                for window in zip(
                    box,
                    params["window_dimensions"],
                    params["window_strides"],
                    params["window_dilation"],
                    (low for low, _ in params["padding"]),
                    strict=True,
                )
            )
        case "dot_general":
            contract, batch = (sides[position] for sides in params["dimension_numbers"])
            free = [i for i in range(len(shape)) if i not in contract and i not in batch]
            first = len(batch)
            if position == 1:
                left = len(program.shapes[op.outputs[0]].shape) - len(batch) - len(free)
                first += left
            seen = list(everything)
            for i, axis in enumerate(batch):
                seen[axis] = box[i]
            for i, axis in enumerate(free):
                seen[axis] = box[first + i]
            return tuple(seen)
        case "pad" if position == 0 and all(config[2] == 0 for config in params["padding_config"]):
            return tuple(
                (a - low, b - low)
                for (a, b), (low, _, _) in zip(box, params["padding_config"], strict=True)
            )
        case "concatenate":
            axis = params["dimension"]
            before = sum(program.shape(value)[axis] for value in op.inputs[:position])
            return tuple(
                (a - before, b - before) if i == axis else (a, b) for i, (a, b) in enumerate(box)
            )
        case "slice":
            strides = params["strides"] or (1,) * len(shape)
            starts = params["start_indices"]
            return tuple(
                _window(interval, 1, stride, 1, -start)
                for interval, stride, start in zip(box, strides, starts, strict=True)
            )
        case "rev":
            return tuple(
                (shape[i] - b, shape[i] - a) if i in params["dimensions"] else (a, b)
                for i, (a, b) in enumerate(box)
            )
        case name if name in _REDUCTIONS:
            removed, kept = set(params["axes"]), iter(box)
            return tuple(everything[i] if i in removed else next(kept) for i in range(len(shape)))
    return everything


def _window(
    interval: tuple[int, int], size: int, stride: int, dilation: int, padding: int
) -> tuple[int, int]:
    start, stop = interval
    return start * stride - padding, (stop - 1) * stride - padding + (size - 1) * dilation + 1


def _clip(box: Box, shape: tuple[int, ...]) -> Box:
    return tuple((max(a, 0), min(b, size)) for (a, b), size in zip(box, shape, strict=True))


def _union(box: Box | None, other: Box) -> Box:
    if box is None:
        return other
    return tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(box, other, strict=True))


def central_box(shape: tuple[int, ...], positions: tuple[int, ...], spatial: str) -> Box:
    """The box of one central position (`"position"`), or of everything (`"full"`)."""
    one_of("spatial", spatial, ("position", "full"))
    return tuple(
        (size // 2, size // 2 + 1) if axis in positions and spatial == "position" else (0, size)
        for axis, size in enumerate(shape)
    )
