"""Arrays that are divided among several devices."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jax.sharding import PartitionSpec

# Older versions of JAX, which lack it, make meshes with automatic axes unless told otherwise.
_AUTO_AXES = getattr(jax.sharding, "auto_axes", None)


def may_be_divided(x: jax.Array) -> bool:
    """Whether `x` may be divided among devices: then an axis that is merged with others is gathered."""
    return not jax.typeof(x).sharding.mesh.empty


def undivided(f: Callable[..., Any], *args: Any, batch: jax.Array | None = None) -> Any:
    """`f(*args)`, where XLA decides how its work is divided among devices, if its arrays are.

    Under explicit axes JAX refuses whatever leaves open how its result is divided: a scatter over
    divided examples, a reshape that merges their axis with another. Here the answers are said to stand
    whole on every device; but for those with as many rows as `batch`, which are divided as `batch` is.
    """
    if _AUTO_AXES is None or not any(map(_is_explicit, jax.tree.leaves(args))):
        return f(*args)
    arrays, rest = eqx.partition(args, eqx.is_array)

    def of_arrays(arrays: Any) -> Any:
        return f(*eqx.combine(arrays, rest))

    def spec_of(answer: jax.ShapeDtypeStruct) -> PartitionSpec:
        divided = batch is not None and batch.ndim > 0 and answer.shape[:1] == batch.shape[:1]
        return PartitionSpec(*(jax.typeof(batch).sharding.spec[:1] if divided else ()))

    whole = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)
    specs = jax.tree.map(spec_of, jax.eval_shape(of_arrays, whole))
    return _AUTO_AXES(of_arrays, out_sharding=specs)(arrays)


def _is_explicit(x: Any) -> bool:
    if not eqx.is_array(x):
        return False
    kinds = jax.typeof(x).sharding.mesh.axis_types
    return any(kind is jax.sharding.AxisType.Explicit for kind in kinds)
