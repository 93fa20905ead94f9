"""What proves an import, from torch or from Flax: relative errors, and what is too much."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

# Largest accepted error of an array, relative to its largest entry.
_TOLERANCE = {"float64": 1e-10, "complex128": 1e-10, "float32": 1e-5, "complex64": 1e-5}
_TOLERANCE |= {"bfloat16": 5e-2, "float16": 1e-2}


class ImportMismatch(ArithmeticError):
    """The imported model and its original disagree; the text says where."""


@dataclasses.dataclass(frozen=True, eq=False)
class Verification:
    """Largest relative errors found when an imported model was compared with its original.

    The error of an array is its largest absolute deviation over its largest absolute entry. `layers`
    compares every value that a torch module computes (nothing for Flax, whose own modules run in
    the import), `outputs` the results of the model,
    `gradients` the derivatives of a random combination of the outputs by every trained parameter;
    each is the largest over the example and random inputs.
    """

    layers: Mapping[str, float]
    outputs: float
    gradients: Mapping[str, float]
    tolerance: float

    def __repr__(self) -> str:
        worst = max(self.gradients.values(), default=0.0)
        return (
            f"Verification(outputs={self.outputs:.1e}, gradients={worst:.1e}, "
            f"tolerance={self.tolerance:.0e}, layers={len(self.layers)})"
        )


def judge(report: Verification) -> None:
    """Raise `ImportMismatch` listing all errors above the tolerance."""
    wrong = {
        **{f"layer {name or '(top)'}": value for name, value in report.layers.items()},
        "outputs": report.outputs,
        **{f"gradient of {name}": value for name, value in report.gradients.items()},
    }
    wrong = {what: value for what, value in wrong.items() if not value <= report.tolerance}
    if wrong:
        listed = "\n".join(f"  {what}: {value:.2e}" for what, value in wrong.items())
        raise ImportMismatch(
            "The imported model differs from its original by more than "
            f"{report.tolerance:.0e} (relative), in order of execution:\n{listed}\n"
            "If only late layers and gradients are listed, and by little, this is rounding: import "
            "in double precision to see it vanish, or pass `tolerance=`. Otherwise the first layer "
            "listed uses an operator that computes something else; please report it."
        )


def combination(outputs: Any, weights: list[Any]) -> tuple[Array, list[Array]]:
    """The sum of weighted outputs that is differentiated, and the outputs' arrays, in order."""
    found = list(_arrays(outputs))
    inexact = [_real(y) for y in found if jnp.issubdtype(y.dtype, jnp.inexact)]
    total = sum(jnp.sum(w * y) for w, y in zip(weights, inexact, strict=True))
    return jnp.asarray(total, float), found


def _real(y: Array) -> Array:
    """Complex numbers as pairs."""
    return jnp.stack([y.real, y.imag], axis=-1) if jnp.iscomplexobj(y) else y


def _arrays(outputs: Any) -> Iterator[Array]:
    """The arrays of an output in torch's order: that of insertion, for dictionaries."""
    if isinstance(outputs, Mapping | tuple | list):
        for item in outputs.values() if isinstance(outputs, Mapping) else outputs:
            yield from _arrays(item)
    elif not isinstance(outputs, bool | int | float | str):
        yield from jtu.tree_leaves(outputs)


def default_tolerance(dtypes: Iterable[Any]) -> float:
    """What the coarsest type that the model computes with allows."""
    names = {jnp.dtype(dtype).name for dtype in dtypes}
    return max((_TOLERANCE[name] for name in names if name in _TOLERANCE), default=1e-5)


def magnitude(values: np.ndarray) -> float:
    """The largest finite entry of a floating-point array, 0 for any other."""
    if values.dtype.kind in "biu" or not values.size:
        return 0.0
    size = np.abs(_wide(values))
    return float(np.max(size, where=np.isfinite(size), initial=0.0))


def largest_error(ours: Any, theirs: np.ndarray, floor: float = 0.0) -> float:
    """Largest deviation over largest entry (at least `floor`); infinite if not comparable.

    Integers and booleans are equal, each in its own width, error 0, or not, error 1.
    """
    if np.shape(ours) != theirs.shape:
        return float("inf")
    ours = np.asarray(ours)
    if theirs.dtype.kind in "biu":
        return float(not np.array_equal(ours, theirs))
    a, b = _wide(ours), _wide(theirs)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    deviation = np.abs(a[finite] - b[finite])
    return float(np.max(deviation, initial=0.0)) / max(magnitude(theirs), floor, 1e-30)


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
