"""Maps inside other people's models."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .._core import public
from ._base import AbstractLinearMap

M = TypeVar("M")


@public
def structure(
    model: M,
    where: Callable[[M], Any],
    Map: type[AbstractLinearMap],
    *,
    key: PRNGKeyArray | None = None,
    **options: Any,
) -> M:
    """`model` with one or several of its linear layers replaced by maps of the same shape.

    Where the map nearest to a given matrix is known, the new layer starts there, keeping as much of
    the old weights as the promise allows; otherwise it starts at random, and `key` is needed. The
    bias, or its absence, is kept.

    **Arguments:**

    - `model`: any pytree.
    - `where`: as for `equinox.tree_at`: picks a layer, or a sequence of them. A layer is an
        `equinox.nn.Linear` or a map.
    - `Map`: a class of maps; `options` are its options.

    **Raises:** `TypeError` for a layer that is neither, `ValueError` for a missing key, and whatever the
    map raises for a shape that it cannot have.

    >>> import equinox as eqx, jax, jaxinfo
    >>> model = eqx.nn.MLP(3, 2, 8, 2, key=jax.random.key(0))
    >>> model = structure(model, lambda m: m.layers[1], jaxinfo.maps.OrthogonalLinear)
    >>> float(model.layers[1].violation()) < 1e-5
    True
    """
    chosen = where(model)
    several = isinstance(chosen, (list, tuple))
    layers = list(chosen) if several else [chosen]
    keys = [None] * len(layers) if key is None else jr.split(key, len(layers))
    pairs = zip(layers, keys, strict=True)
    new = [_structured(layer, layer_key, Map, options) for layer, layer_key in pairs]
    return eqx.tree_at(where, model, new if several else new[0])


def reg_errors(model: Any) -> Float[Array, ""]:
    """The sum of `reg_error()` over all the maps in a model, to be added to its loss.

    A map inside another one (a splitting's halves) is counted by the outer one alone.

    >>> import jax, jaxinfo
    >>> model = [jaxinfo.maps.LassoLinear(2, 2, key=jax.random.key(0), gamma=0.0)] * 2
    >>> reg_errors(model)
    Array(0., dtype=float32)
    """
    leaves = jax.tree_util.tree_leaves(model, is_leaf=_is_map)
    return sum((leaf.reg_error() for leaf in leaves if _is_map(leaf)), jnp.zeros(()))


def _is_map(node: Any) -> bool:
    return isinstance(node, AbstractLinearMap)


def _structured(
    layer: Any,
    key: PRNGKeyArray | None,
    Map: type[AbstractLinearMap],
    options: dict[str, Any],
) -> AbstractLinearMap:
    if isinstance(layer, eqx.nn.Linear):
        if not isinstance(layer.in_features, int) or not isinstance(layer.out_features, int):
            raise TypeError(
                "`structure` replaces layers of vectors; this one has 'scalar' features."
            )
        W = layer.weight.T
    elif _is_map(layer):
        W = layer.effective_W()
    else:
        raise TypeError(
            f"`where` must pick an `equinox.nn.Linear` or a map; got a `{type(layer).__name__}`."
        )
    try:
        return Map.from_matrix(W, layer.bias, **options)
    except NotImplementedError:
        if key is None:
            raise ValueError(
                f"A `{Map.__name__}` near given weights is not known, so it starts at random: pass "
                "`key=`."
            ) from None
    sizes = {"in_features": W.shape[0], "out_features": W.shape[1]}
    new = Map(**sizes, use_bias=layer.bias is not None, key=key, **options)
    return eqx.tree_at(lambda m: m.bias, new, layer.bias, is_leaf=lambda x: x is None)
