"""Files of parameters, read without running what they hold."""

import io
import math
import pathlib
import zipfile
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors

from ..._core import FileFormatError, path_of, reading, require, zip_members
from ._tensors import to_numpy


def read_arrays(path: Any) -> dict[str, np.ndarray]:
    """The named arrays in a `.pt`/`.pth`/`.bin`, `.safetensors` or `.npz` file; no code in it runs.

    **Raises:** `ValueError` naming the file if it is damaged, holds anything but named arrays, or
    has another ending.
    """
    readers = {".safetensors": _safetensors, ".npz": _npz}
    readers |= dict.fromkeys((".pt", ".pth", ".bin"), _state_dict)
    path = path_of("path", path)
    if path.suffix not in readers:
        raise ValueError(
            f"A file of parameters ends in one of {', '.join(readers)}; `path` is {str(path)!r}."
        )
    with reading(path, f"a whole {path.suffix} file"):
        return readers[path.suffix](path)


def _state_dict(path: pathlib.Path) -> dict[str, np.ndarray]:
    torch = require("torch", extra="torch")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            zip_members(archive)  # for their checksums, at which torch does not look
    held = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(held, dict) or not all(isinstance(v, torch.Tensor) for v in held.values()):
        keys = ", ".join(map(repr, held)) if isinstance(held, dict) else type(held).__name__
        raise FileFormatError(
            f"the file must hold a state dict, tensors by name; it holds {keys}. Save the state "
            "dict by itself: `torch.save(model.state_dict(), path)`."
        )
    return {name: to_numpy(tensor) for name, tensor in held.items()}


def _npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        members = zip_members(archive)
    return {name.removesuffix(".npy"): _npy(name, data) for name, data in members.items()}


def _npy(name: str, data: bytes) -> np.ndarray:
    """An array of numbers in NumPy's own format, whose header is believed only where it fits."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    headers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in headers:
        raise FileFormatError(f"{name!r} is of version {version}, which is not for plain numbers.")
    shape, by_columns, dtype = headers[version](file)
    if dtype.kind not in "biufc":
        raise FileFormatError(f"{name!r} holds no numbers, but {dtype}.")
    if len(data) - file.tell() != math.prod(shape) * dtype.itemsize or min(shape, default=0) < 0:
        raise FileFormatError(f"{name!r} does not have the bytes of an array of shape {shape}.")
    values = np.frombuffer(data, dtype, offset=file.tell()).astype(dtype.newbyteorder("="))
    return values.reshape(shape, order="F" if by_columns else "C")


_SAFETENSORS_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    # `safetensors.numpy` has no name for sixteen and eight bits; the library itself checks the file.
    return {
        name: _tensor(name, **held) for name, held in safetensors.deserialize(path.read_bytes())
    }


def _tensor(name: str, dtype: str, shape: list[int], data: bytearray) -> np.ndarray:
    if dtype not in _SAFETENSORS_DTYPES:
        raise FileFormatError(f"{name!r} is of dtype {dtype}, for which JAX has none.")
    if dtype == "BOOL" and data.strip(b"\x00\x01"):
        raise FileFormatError(f"{name!r} holds booleans that are neither 0 nor 1.")
    return np.frombuffer(data, jnp.dtype(_SAFETENSORS_DTYPES[dtype])).reshape(shape)
