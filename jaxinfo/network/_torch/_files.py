"""Files of parameters and programs, read without running what they hold."""

import contextlib
import json
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._core import require
from ._tensors import to_numpy

Path = str | os.PathLike[str]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The named arrays in a `.pt`/`.pth`/`.bin`, `.safetensors` or `.npz` file; nothing unpickles.

    **Raises:** `ValueError` if the file holds anything but named arrays, or has another ending.
    """
    readers = {".safetensors": _safetensors, ".npz": _npz}
    readers |= dict.fromkeys((".pt", ".pth", ".bin"), _state_dict)
    ending = pathlib.Path(path).suffix
    if ending not in readers:
        raise ValueError(
            f"A file of parameters ends in one of {', '.join(readers)}; got {os.fspath(path)!r}."
        )
    return readers[ending](path)


def _state_dict(path: Path) -> dict[str, np.ndarray]:
    torch = require("torch", extra="torch")
    held = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(held, dict) or not all(isinstance(v, torch.Tensor) for v in held.values()):
        keys = ", ".join(map(repr, held)) if isinstance(held, dict) else type(held).__name__
        raise ValueError(
            f"{os.fspath(path)!r} must hold a state dict, tensors by name; it holds {keys}. Save "
            "the state dict by itself: `torch.save(model.state_dict(), path)`."
        )
    return {name: to_numpy(tensor) for name, tensor in held.items()}


def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}


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
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    """Eight bytes of header length, a JSON header, and the arrays' bytes one after the other."""
    raw = pathlib.Path(path).read_bytes()
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > len(raw) - 8:
        raise ValueError(f"{os.fspath(path)!r} is not a safetensors file: its header is cut short.")
    header = json.loads(raw[8 : 8 + size])
    body = memoryview(raw)[8 + size :]
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, stop = entry["data_offsets"]
        dtype = jnp.dtype(_SAFETENSORS_DTYPES[entry["dtype"]])
        if not 0 <= start <= stop <= len(body):
            raise ValueError(f"{os.fspath(path)!r}: the bytes of {name!r} lie outside the file.")
        arrays[name] = np.frombuffer(body[start:stop], dtype).reshape(entry["shape"]).copy()
    return arrays


def load_program(path: Path) -> Any:
    """The exported program in a `.pt2` file, without unpickling anything.

    **Raises:** `ValueError` if the file is no `.pt2` file, or carries pickled objects.
    """
    torch = require("torch", extra="torch")
    if pathlib.Path(path).suffix != ".pt2":
        raise ValueError(
            f"A file that holds a whole model ends in .pt2, from `torch.export.save`; got "
            f"{os.fspath(path)!r}. Parameters alone need the model's code: `load_torch_weights`."
        )
    with zipfile.ZipFile(path) as archive:
        pickled = [
            name
            for name in archive.namelist()
            if pathlib.PurePath(name).name.startswith(("custom_obj", "opaque_obj", "script_object"))
        ]
    if pickled:
        raise ValueError(
            f"{os.fspath(path)!r} carries pickled objects, which could run any code when loaded: "
            f"{', '.join(pickled)}. Export the model without them."
        )
    with _weights_only():
        return torch.export.load(path)


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Have torch read every tensor file with its restricted reader, whoever opens it."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
