"""Tensors to arrays and back, dtype by dtype."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..._core import require


def numpy_dtype(dtype: Any) -> np.dtype:
    """NumPy's dtype of the same name as torch's (`bfloat16` and its like come with JAX)."""
    return jnp.dtype(str(dtype).removeprefix("torch."))


def to_numpy(tensor: Any) -> np.ndarray:
    """A copy of a tensor's values, `bfloat16` included."""
    torch = require("torch", extra="torch")
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().copy().view(jnp.bfloat16)
    return tensor.numpy().copy()


def copies(structure: Any) -> Any:
    """The structure with copies of its tensors: a model may write to what it is given."""
    torch = require("torch", extra="torch")

    def copy(value: Any) -> Any:
        return value.detach().clone() if isinstance(value, torch.Tensor) else value

    return torch.utils._pytree.tree_map(copy, structure)


def to_torch(array: Any, dtype: Any = None) -> Any:
    """The inverse of `to_numpy`, in torch's `dtype` of that name if one is given."""
    torch = require("torch", extra="torch")
    array = np.array(array)  # a writable copy
    if array.dtype == jnp.bfloat16:
        tensor = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(array)
    return tensor if dtype is None else tensor.to(getattr(torch, dtype))


def to_array(name: str, values: np.ndarray) -> Array:
    """The values as a JAX array, or an error if 32 bits cannot hold them."""
    dtype = jax.dtypes.canonicalize_dtype(values.dtype)
    if dtype == values.dtype:
        return jnp.asarray(values)
    if values.dtype.kind in "fc":
        raise ValueError(
            f"{name!r} is of dtype {values.dtype.name}, and JAX holds 32 bits at most unless told "
            "otherwise. Call `jax.config.update('jax_enable_x64', True)` first, or convert the "
            "torch model with `model.float()`."
        )
    narrow = values.astype(dtype)
    if not np.array_equal(narrow, values):
        raise ValueError(
            f"{name!r} holds integers beyond 32 bits. Call "
            "`jax.config.update('jax_enable_x64', True)` first."
        )
    return jnp.asarray(narrow)
