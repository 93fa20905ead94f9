"""Named arrays into the places of a module: checkpoints of the source, and nearest members."""

from collections.abc import Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._core import as_inexact, checked, unknown_name

T = TypeVar("T", bound=eqx.Module)


def fill(template: T, params: Mapping[str, Any]) -> T:
    """`template` with each array replaced by the one of its name (its path, joined by dots).

    Leading axes of length 1 that the template does not have are dropped: the source keeps its
    biases as rows.
    """
    places, structure = jax.tree_util.tree_flatten_with_path(template)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in places]
    for name in params:
        if name not in names:
            raise unknown_name(f"parameter of `{type(template).__name__}`", name, names)
    arrays = []
    for name, (_, place) in zip(names, places, strict=True):
        if name not in params:
            listed = ", ".join(map(repr, params)) or "none"
            raise KeyError(
                f"`{type(template).__name__}` needs a parameter {name!r}; there are: {listed}."
            )
        arrays.append(_fitted(name, as_inexact(params[name]), place))
    return jax.tree_util.tree_unflatten(structure, arrays)


def fill_from_source(template: T, params: Mapping[str, Any], kind: type[Any]) -> T:
    """`fill`, with each module of type `kind` inside `template` translating its own part first."""
    rest = {name: as_inexact(value) for name, value in params.items()}
    translated: dict[str, Array] = {}
    places, _ = jax.tree_util.tree_flatten_with_path(
        template, is_leaf=lambda node: isinstance(node, kind)
    )
    for path, node in places:
        if isinstance(node, kind):
            prefix = "".join(
                f"{part}."
                for part in [jax.tree_util.keystr(path, simple=True, separator=".")]
                if part
            )
            own = {k[len(prefix) :]: rest.pop(k) for k in list(rest) if k.startswith(prefix)}
            own = _without_unused_bias(node, node._translate(own))
            translated |= {prefix + name: array for name, array in own.items()}
    return fill(template, rest | translated)


def _without_unused_bias(node: Any, params: dict[str, Array]) -> dict[str, Array]:
    if node.bias is not None or "bias" not in params:
        return params
    message = (
        f"`params` holds a bias that is not 0, but this `{type(node).__name__}` has "
        "`use_bias=False`; pass `use_bias=True` to keep it."
    )
    bias = params.pop("bias")
    checked(bias, jnp.any(bias != 0), message)
    return params


def _fitted(name: str, array: Array, place: jax.ShapeDtypeStruct) -> Array:
    shape = place.shape
    if jnp.iscomplexobj(array) and not jnp.issubdtype(place.dtype, jnp.complexfloating):
        raise ValueError(f"Parameter {name!r} must be real here; got {array.dtype}.")
    excess = array.ndim - len(shape)
    if excess > 0 and array.shape[:excess] == (1,) * excess:
        array = array.reshape(array.shape[excess:])
    if array.shape != shape:
        raise ValueError(f"Parameter {name!r} must have shape {shape}; got {array.shape}.")
    return array
