"""Arithmetic of sizes, which are plain Python numbers once a program runs."""

import math
import operator

from .._table import torch_operator

for (
    function
) in "add sub mul truediv floordiv mod pow neg pos abs eq ne lt le gt ge and_ or_ not_ xor".split():
    torch_operator(f"operator.{function}")(getattr(operator, function))
torch_operator("operator.getitem")(operator.getitem)

for function in ("ceil", "floor", "trunc", "sqrt"):
    torch_operator(f"math.{function}")(getattr(math, function))

for name, function in {
    "sym_max": max,
    "sym_min": min,
    "sym_float": float,
    "sym_int": int,
    "sym_not": operator.not_,
    "sym_ite": lambda condition, a, b: a if condition else b,
}.items():
    torch_operator(f"torch.{name}")(function)


@torch_operator("aten.sym_size.int", shape_only=True)
def size(x, dim):
    return x.shape[dim]


@torch_operator("aten.sym_numel.default", shape_only=True)
def numel(x):
    return math.prod(x.shape)


@torch_operator("aten.sym_stride.int", shape_only=True)
def stride(x, dim):
    return math.prod(x.shape[dim % len(x.shape) + 1 :])
