"""Parameters from files into models, and from models back to torch."""

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

from ._files import read_arrays
from ._module import Imported
from ._named import path_name
from ._tensors import to_array, to_torch

M = TypeVar("M")
Transform = Callable[[Any], Any]
Mapped = Mapping[str, str | tuple[str, Transform]]


def load_torch_weights(
    model: M, path: str | os.PathLike[str], mapping: Mapped | None = None, *, strict: bool = True
) -> M:
    r"""A copy of a model with the parameters of a torch state dict.

    Each array of the model takes the entry of its own name, the dotted path in the model as in
    `topology_of`, if that entry has exactly its shape; or the entry that `mapping` names. Nothing is
    reshaped, transposed or rounded unless the mapping says how. Nothing in the file can run: tensors
    and plain values are all that is read of a `.pt` file (`weights_only=True`).

    **Arguments:**

    - `model`: an imported model, an Equinox module, a Flax NNX module, or a dictionary of parameters
        or variables of Flax Linen.
    - `path`: a `.pt` (`.pth`, `.bin`) file of `torch.save(model.state_dict(), path)`, a
        `.safetensors` or an `.npz` file.
    - `mapping`: for names of the model, the file's name, or a pair of the file's name and a function
        that is applied to its array, such as `("fc1.weight", jnp.transpose)` for a Flax kernel.
    - `strict`: raise if anything is left over on either side; otherwise warn, and leave arrays
        without an entry as they are.

    **Raises:** `ValueError` listing every array without an entry and every entry without an array,
    with shapes; also if the model's dtype does not hold all values of an entry's dtype (float32
    holds no int32), and for a file that is damaged, naming it. `TypeError` for a model without
    arrays.

    >>> import equinox as eqx, jax, tempfile, os
    >>> linear = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    >>> path = os.path.join(tempfile.mkdtemp(), "linear.npz")
    >>> np.savez(path, weight=np.ones((2, 3), np.float32), b=np.zeros(2, np.float32))
    >>> load_torch_weights(linear, path, {"bias": "b"}).weight[0]
    Array([1., 1., 1.], dtype=float32)
    """
    if not isinstance(mapping, Mapping | None):
        raise TypeError(f"`mapping` must be a dictionary of names; got {mapping!r}.")
    leaves, treedef, rebuild = _flatten(model)
    if not any(_is_parameter(leaf) for _, leaf in leaves):
        raise TypeError(
            "`model` must hold arrays: an imported model, an Equinox or Flax NNX module or a "
            f"dictionary of parameters; got {type(model).__name__}."
        )
    held = read_arrays(path)
    mapping, used = dict(mapping or {}), set(_aliases(model, held))
    unknown = [name for name in mapping if name not in {name for name, _ in leaves}]
    missing: list[str] = [f"{name} (in the mapping, not in the model)" for name in unknown]
    new = []
    for name, leaf in leaves:
        if not _is_parameter(leaf):
            new.append(leaf)
            continue
        source, transform = _source(name, mapping)
        if source in held:
            value = held[source] if transform is None else np.asarray(transform(held[source]))
            if value.shape == leaf.shape:
                used.add(source)
                new.append(_as_dtype(source, value, leaf.dtype))
                continue
            found = f"the file has {source} of shape {value.shape}"
        else:
            found = f"the file has no {source}"
        missing.append(f"{name} of shape {leaf.shape} ({found})")
        new.append(leaf)
    extra = [f"{name} of shape {v.shape}" for name, v in held.items() if name not in used]
    _report(os.fspath(path), missing, extra, strict)
    return rebuild(jtu.tree_unflatten(treedef, new))


def to_torch_state_dict(model: Any, mapping: Mapped | None = None) -> dict[str, Any]:
    """The parameters of a model as torch tensors by name, for torch's `load_state_dict`.

    An imported model gives back the names and dtypes of the torch model it came from, tied
    parameters under each name. Any other model gives the dotted paths of its arrays; `mapping` says
    for names of the model what torch calls them, alone or in a pair with a function to apply.

    >>> import equinox as eqx, jax
    >>> linear = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    >>> sorted(to_torch_state_dict(linear, {"bias": "b"}))
    ['b', 'weight']
    """
    mapping = dict(mapping or {})
    if isinstance(model, Imported):
        arrays, dtypes = model.state_dict(), model._names.dtypes
    else:
        arrays = {name: leaf for name, leaf in _flatten(model)[0] if _is_parameter(leaf)}
        dtypes = {}
    state = {}
    for name, array in arrays.items():
        target, transform = _source(name, mapping)
        value = array if transform is None else transform(array)
        state[target] = to_torch(value, dtypes.get(name))
    return state


def _flatten(model: Any) -> tuple[list[tuple[str, Any]], Any, Callable[[Any], Any]]:
    """Named leaves, the tree they came from, and how to make the model from that tree."""
    nnx = sys.modules.get("flax.nnx")  # an NNX module exists only where NNX was imported
    if nnx is not None and isinstance(model, nnx.Module):
        definition, random, model = nnx.split(model, nnx.RngState, ...)

        def rebuild(tree: Any) -> Any:
            return nnx.merge(definition, random, tree)

    else:

        def rebuild(tree: Any) -> Any:
            return tree

    leaves, treedef = jtu.tree_flatten_with_path(model)
    return (
        [(path_name(path).removesuffix(".value"), leaf) for path, leaf in leaves],
        treedef,
        rebuild,
    )


def _is_parameter(leaf: Any) -> bool:
    """An array of numbers: no key of a random generator, no function, no plain number."""
    if not isinstance(leaf, jax.Array | np.ndarray):
        return False
    return not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _source(name: str, mapping: Mapped) -> tuple[str, Transform | None]:
    entry = mapping.get(name, name)
    return (entry, None) if isinstance(entry, str) else entry


def _aliases(model: Any, held: Mapping[str, np.ndarray]) -> list[str]:
    """Further names of tied parameters; they must agree with the first one."""
    if not isinstance(model, Imported):
        return []
    aliases = {a: b for a, b in model._names.source.items() if a != b and a in held and b in held}
    for alias, name in aliases.items():
        if not np.array_equal(held[alias], held[name]):
            raise ValueError(
                f"{alias!r} and {name!r} are tied in the model but differ in the file."
            )
    return list(aliases)


def _as_dtype(name: str, value: np.ndarray, dtype: Any) -> Array:
    # Where JAX has 32 bits, they stand for 64, and the values decide.
    value = np.asarray(to_array(name, value)) if value.dtype.kind in "iu" else value
    if not _holds(jnp.dtype(dtype), value.dtype):
        raise ValueError(
            f"{name!r} is of dtype {value.dtype.name} in the file and {jnp.dtype(dtype).name} in the "
            "model, which does not hold all values of the former exactly. Convert one of them first."
        )
    return jnp.asarray(value.astype(dtype))


def _holds(wide: np.dtype, narrow: np.dtype) -> bool:
    """Whether every value of one dtype is one of the other."""
    if wide == narrow or narrow.kind == "b":
        return True
    if wide.kind == "b" or jnp.issubdtype(narrow, jnp.complexfloating) > (wide.kind == "c"):
        return False
    if not jnp.issubdtype(narrow, jnp.integer):
        if jnp.issubdtype(wide, jnp.integer):
            return False
        a, b = jnp.finfo(narrow), jnp.finfo(wide)
        return a.nmant <= b.nmant and a.maxexp <= b.maxexp and a.minexp >= b.minexp
    a = jnp.iinfo(narrow)
    if jnp.issubdtype(wide, jnp.integer):
        return jnp.iinfo(wide).min <= a.min and a.max <= jnp.iinfo(wide).max
    b = jnp.finfo(wide)
    return a.bits - (a.min < 0) <= b.nmant + 1 and a.bits <= b.maxexp


def _report(path: str, missing: list[str], extra: list[str], strict: bool) -> None:
    if not missing and not extra:
        return
    lines = ["In the model, without a match:", *(f"  {m}" for m in missing)] if missing else []
    lines += ["In the file, unused:", *(f"  {e}" for e in extra)] if extra else []
    message = f"The parameters in {path!r} do not match the model's by name and shape.\n"
    message += "\n".join(lines)
    if strict:
        raise ValueError(
            f"{message}\nPair the names with `mapping={{model's name: file's name}}`, or pass "
            "`strict=False` to load what matches."
        )
    warnings.warn(message, stacklevel=3)
