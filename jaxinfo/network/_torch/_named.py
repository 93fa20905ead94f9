"""Modules whose parameters lie at the paths that dotted names spell."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax.tree_util as jtu
from jaxtyping import Array

M = TypeVar("M", bound=eqx.Module)


def path_name(path: Iterable[Any]) -> str:
    """A path in a pytree with dots, as torch and Flax write it."""
    return jtu.keystr(tuple(path), simple=True, separator=".")


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by the dotted names of their paths."""
    return {path_name(path): leaf for path, leaf in jtu.tree_flatten_with_path(tree)[0]}


def nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries in which each leaf lies where its dotted name says."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def with_children(base: type[M], name: str, leaves: Mapping[str, Array]) -> tuple[type[M], Any]:
    """`base` with a field for each first part of the names, and the values of these fields.

    So the path of a leaf is its name and nothing else.
    """
    tree = nest(leaves)
    taken = [child for child in tree if child in dir(base) or child in base.__annotations__]
    if taken:
        raise ValueError(
            f"The model's own name {taken[0]!r} is one that every imported model has. Rename it in "
            "the model, or wrap that model in another module."
        )
    return _class(base, name, tuple(tree)), tree


@functools.cache
def _class(base: type[M], name: str, children: tuple[str, ...]) -> type[M]:
    fields = {child: Any for child in children}
    body = {"__annotations__": fields, "__module__": base.__module__, "__doc__": base.__doc__}
    return type(base)(name, (base,), body)
