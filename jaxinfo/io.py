"""Floor 0: safe files. A tree of arrays, numbers and strings, and nothing that can run.

A file is

    magic (8 bytes) | SHA-256 of the rest (32) | length of the header (8) | header | array bytes

The header is JSON: the version, and the tree with the shape, dtype and place of each array. Nothing
in a file names code to be imported or called, so reading one can at worst raise `FileFormatError`.
"""

import dataclasses
import hashlib
import json
import math
import os
import pathlib
import secrets
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._core import FileFormatError as FileFormatError, path_of, reading

_MAGIC = b"JAXINFO\x01"
_VERSION = 1
_PREFIX = len(_MAGIC) + 32 + 8
_KEY_IMPLS = ("threefry2x32", "rbg", "unsafe_rbg")
_DTYPES = {
    np.dtype(dtype).name: np.dtype(dtype)
    for dtype in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
        jnp.bfloat16,
        *(getattr(jnp, name) for name in dir(jnp) if name.startswith("float8_")),
    )
}
_DEEPEST = 64
"""Levels of a tree; what can be written can be read, and nothing runs into Python's own limit."""
_UNTOLD = object()
"""Stands for a part of `like` that was not given."""


def serialize(fname: str | os.PathLike[str], object: Any) -> None:
    """Write a tree to a file, whole or not at all.

    The tree is made of dictionaries (keys: strings, numbers, `None`), lists, tuples, `None`,
    booleans, integers, floats, complex numbers, strings, bytes; JAX and NumPy arrays and NumPy
    scalars of any dtype down to bfloat16 and float8; typed random keys; and of Equinox modules,
    named tuples, optimiser states and other registered pytrees, from which the leaves are written.
    A function inside a module, such as its activation, and static fields are not written: `like`
    brings them back. Arrays that occur twice are written twice.

    The bytes go to a temporary file beside `fname`, which takes its name at the end, so that a
    crash leaves the old file, or none.

    **Raises:** `TypeError` for what cannot be written, with its place in the tree, and `ValueError`
    for a tree of more than 64 levels or one that holds itself; then no file is made.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "tree.jaxinfo"
    >>> serialize(file, {"a": [1, 2.5, "x"], "w": jnp.arange(3.0)})
    >>> deserialize(file)
    {'a': [1, 2.5, 'x'], 'w': Array([0., 1., 2.], dtype=float32)}
    """
    fname = path_of("fname", fname)
    data = _to_bytes(object)
    target = pathlib.Path(os.path.realpath(fname))  # a link stays a link
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def deserialize(fname: str | os.PathLike[str], *, like: Any = _UNTOLD) -> Any:
    """Read a tree that `serialize` wrote; equal to what was written, with the same types.

    **Arguments:**

    - `like`: a tree of the same structure, from which modules (and functions in them) are rebuilt;
        needed if there are any. Its arrays may be `jax.ShapeDtypeStruct`. Structure, shapes and
        dtypes must agree.

    **Raises:** `FileFormatError` if the file is truncated, corrupted or not of this kind, holds a
    module and `like` is not given, or does not agree with `like`; also for 64-bit JAX arrays where
    x64 is off, which would lose digits.

    >>> import equinox as eqx, pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "layer.jaxinfo"
    >>> layer = eqx.nn.Linear(2, 3, key=jax.random.key(0))
    >>> serialize(file, layer)
    >>> blank = eqx.nn.Linear(2, 3, key=jax.random.key(1))
    >>> eqx.tree_equal(deserialize(file, like=blank), layer)
    Array(True, dtype=bool)
    """
    path = path_of("fname", fname)
    with reading(path, "a file of `jaxinfo.io.serialize`"):
        return _from_bytes(path.read_bytes(), like)


def makedir(directory: str | os.PathLike[str]) -> None:
    """Make a folder and those above it; nothing happens if it exists.

    **Raises:** `FileExistsError` if a file of that name is in the way.
    """
    os.makedirs(path_of("directory", directory), exist_ok=True)


def makedirs(directories: Iterable[str | os.PathLike[str]]) -> None:
    """`makedir` for each of several folders.

    **Raises:** `TypeError` for a single string, whose letters are not folders.
    """
    if isinstance(directories, str | os.PathLike) or not isinstance(directories, Iterable):
        raise TypeError(
            f"`directories` must be a list of folders; got {directories!r}. Use `makedir`."
        )
    for directory in directories:
        makedir(directory)


def _to_bytes(tree: Any) -> bytes:
    writer = _Writer()
    header = json.dumps({"version": _VERSION, "tree": writer.node(tree, ())}).encode("ascii")
    body = b"".join((len(header).to_bytes(8, "little"), header, *writer.blocks))
    return _MAGIC + hashlib.sha256(body).digest() + body


def _from_bytes(data: bytes, like: Any = _UNTOLD) -> Any:
    if data[: len(_MAGIC)] != _MAGIC:
        raise FileFormatError(
            f"Not a file of `jaxinfo.io.serialize`: it begins with {data[:8]!r}. Pickled files are "
            "not read, because a pickle can run any program."
        )
    digest, body = data[len(_MAGIC) : _PREFIX - 8], data[_PREFIX - 8 :]
    if hashlib.sha256(body).digest() != digest:
        raise FileFormatError("The checksum does not agree: the file is truncated or corrupted.")
    length = int.from_bytes(body[:8], "little")
    try:
        header = json.loads(body[8 : 8 + length].decode("ascii"), object_pairs_hook=_once)
        if _of_type(int, header["version"]) != _VERSION:
            raise FileFormatError(
                f"The file is of version {header['version']!r}; this jaxinfo reads {_VERSION}."
            )
        reader = _Reader(body[8 + length :])
        tree = reader.node(header["tree"], like, ())
        reader.finish()
        return tree
    except FileFormatError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        # The checksum is right, so the file was made, by a program that is not this one.
        raise FileFormatError(f"The file is malformed: {error!r}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object none of whose names is given twice."""
    if len(found := dict(pairs)) != len(pairs):
        raise FileFormatError("A name is given twice in the header.")
    return found


_SCALARS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bool: ("bool", bool),
    int: ("int", hex),
    float: ("float", float.hex),
    complex: ("complex", lambda z: [z.real.hex(), z.imag.hex()]),
    str: ("str", str),
    bytes: ("bytes", bytes.hex),
}
_READ_SCALAR: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "int": lambda value: int(value, 16),
    "float": float.fromhex,
    "complex": lambda pair: complex(*map(float.fromhex, pair)),
    "str": str,
    "bytes": bytes.fromhex,
}


def _of_type(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value


@dataclasses.dataclass
class _Writer:
    """Turns a tree into JSON nodes, and its arrays into blocks of bytes."""

    blocks: list[bytes] = dataclasses.field(default_factory=list)

    def node(self, x: Any, path: tuple[str, ...]) -> Any:
        if len(path) > _DEEPEST:
            raise ValueError(
                f"The tree has more than {_DEEPEST} levels, or holds itself, at "
                f"{'.'.join(path[:8])}..."
            )
        if x is None:
            return {"kind": "none"}
        if type(x) in _SCALARS:
            kind, write = _SCALARS[type(x)]
            return {"kind": kind, "value": write(x)}
        if type(x) is dict:
            keys = [self.key(k, path) for k in x]
            return {"kind": "dict", "keys": keys, "items": self.children(x.values(), x, path)}
        if type(x) in (list, tuple):
            return {"kind": type(x).__name__, "items": self.children(x, range(len(x)), path)}
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = self.array("jax", jax.random.key_data(x), path)
            return {"kind": "key", "impl": str(jax.random.key_impl(x)), "data": data}
        if isinstance(x, jax.Array):
            return self.array("jax", x, path)
        if type(x) in (np.ndarray, np.memmap):  # others know more than their numbers: masks, ...
            return self.array("numpy", x, path)
        if isinstance(x, np.generic):
            return self.array("scalar", x, path)
        children, _ = _one_level(x)
        if children is not None:
            names, values = zip(*children, strict=True) if children else ((), ())
            items = self.children(values, names, path)
            return {"kind": "node", "type": _type_name(x), "names": list(names), "items": items}
        if callable(x):
            return {"kind": "function"}
        raise TypeError(
            f"Cannot write {_type_name(x)} at {'.'.join(path) or 'the root'}: only arrays, "
            "numbers, strings and pytrees of them can be written."
        )

    def children(self, values: Iterable[Any], names: Iterable[Any], path: tuple[str, ...]) -> list:
        return [self.node(v, (*path, str(n))) for v, n in zip(values, names, strict=True)]

    def key(self, key: Any, path: tuple[str, ...]) -> Any:
        if key is not None and type(key) not in _SCALARS:
            raise TypeError(
                f"Cannot write a dictionary key of type {_type_name(key)} at "
                f"{'.'.join(path) or 'the root'}: keys are strings, numbers or None."
            )
        return self.node(key, path)

    def array(self, kind: str, x: Any, path: tuple[str, ...]) -> dict[str, Any]:
        values = np.asarray(x)
        if values.dtype.name not in _DTYPES:
            raise TypeError(
                f"Cannot write an array of dtype {values.dtype} at {'.'.join(path) or 'the root'}; "
                f"known: {', '.join(_DTYPES)}."
            )
        self.blocks.append(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
        return {"kind": kind, "dtype": values.dtype.name, "shape": list(values.shape)}


@dataclasses.dataclass
class _Reader:
    """The inverse of `_Writer`; arrays are taken from `data` in the order they were written."""

    data: bytes
    used: int = 0

    def node(self, node: dict[str, Any], like: Any, path: tuple[str, ...]) -> Any:
        if len(path) > _DEEPEST:
            raise FileFormatError(f"The tree has more than {_DEEPEST} levels.")
        kind = node["kind"]
        if kind == "none":
            return self.agree(None, like, path)
        if kind in _READ_SCALAR:
            value = _READ_SCALAR[kind](node["value"])
            if _SCALARS[type(value)][1](value) != node["value"]:
                raise FileFormatError(f"A {kind} is not written as `serialize` writes it.")
            return self.agree(value, like, path)
        if kind == "dict":
            keys = [self.node(key, _UNTOLD, path) for key in node["keys"]]
            if len(set(keys)) != len(keys):
                raise FileFormatError("A dictionary has a key twice.")
            self.same("keys", set(keys), like, lambda x: set(x) if type(x) is dict else None, path)
            return dict(zip(keys, self.children(node, keys, like, keys, path), strict=True))
        if kind in ("list", "tuple"):
            sequence = {"list": list, "tuple": tuple}[kind]
            count = len(node["items"])
            self.same(
                f"{kind} of length",
                count,
                like,
                lambda x: len(x) if type(x) is sequence else None,
                path,
            )
            places = range(count)
            return sequence(self.children(node, places, like, places, path))
        if kind == "key":
            impl = node["impl"]
            if impl not in _KEY_IMPLS:
                raise FileFormatError(f"Unknown kind of random key: {impl!r}.")
            key = jax.random.wrap_key_data(self.array(node["data"], path), impl=impl)
            self.same("random keys", (key.dtype, key.shape), like, _dtype_and_shape, path)
            return key
        if kind in ("jax", "numpy", "scalar"):
            array = self.array(node, path)
            self.same("array", (array.dtype, array.shape), like, _dtype_and_shape, path)
            return array
        if kind == "node":
            return self.module(node, like, path)
        if kind == "function":
            if like is _UNTOLD or not callable(like):
                raise FileFormatError(
                    f"There is a function at {'.'.join(path) or 'the root'}, which no file holds: "
                    "pass `like=` with a function in that place."
                )
            return like
        raise FileFormatError(f"Unknown kind of node: {kind!r}.")

    def module(self, node: dict[str, Any], like: Any, path: tuple[str, ...]) -> Any:
        place = ".".join(path) or "the root"
        if like is _UNTOLD:
            raise FileFormatError(
                f"There is a {node['type']!r} at {place}. Files hold no code: pass `like=` with a "
                "tree of the same structure, from which it is rebuilt."
            )
        self.same("type", node["type"], like, _type_name, path)
        children, treedef = _one_level(like)
        names = [name for name, _ in children or ()]
        if children is None or names != node["names"]:
            raise FileFormatError(
                f"At {place} the file has the fields {node['names']}, `like` has {names}."
            )
        values = [
            self.node(item, part, (*path, name))
            for item, (name, part) in zip(node["items"], children, strict=True)
        ]
        return jax.tree_util.tree_unflatten(treedef, values)

    def children(
        self,
        node: dict[str, Any],
        names: Iterable[Any],
        like: Any,
        keys: Iterable[Any],
        path: tuple,
    ) -> list:
        parts = [_UNTOLD if like is _UNTOLD else like[key] for key in keys]
        return [
            self.node(item, part, (*path, str(name)))
            for item, name, part in zip(node["items"], names, parts, strict=True)
        ]

    def array(self, node: dict[str, Any], path: tuple[str, ...]) -> Any:
        dtype = _DTYPES[node["dtype"]]
        shape = tuple(_of_type(int, n) for n in node["shape"])
        size = math.prod(shape) * dtype.itemsize
        block = self.data[self.used : self.used + size]
        if min(shape, default=0) < 0 or len(block) != size:
            raise FileFormatError(f"An array of shape {shape} is longer than the file.")
        if dtype.kind == "b" and block.strip(b"\x00\x01"):
            raise FileFormatError("A boolean is neither 0 nor 1.")
        if node["kind"] == "scalar" and shape:
            raise FileFormatError(f"A scalar has shape {shape}.")
        self.used += size
        values = np.frombuffer(block, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
        if node["kind"] != "jax":
            return values if node["kind"] == "numpy" else values[()]
        if jax.dtypes.canonicalize_dtype(dtype) != dtype:
            raise FileFormatError(
                f"The array at {'.'.join(path) or 'the root'} is {dtype}; reading it needs "
                "`jax.config.update('jax_enable_x64', True)`."
            )
        return jnp.asarray(values)

    def agree(self, value: Any, like: Any, path: tuple[str, ...]) -> Any:
        self.same("type", type(value).__name__, like, lambda x: type(x).__name__, path)
        return value

    def same(
        self, what: str, here: Any, like: Any, there: Callable[[Any], Any], path: tuple[str, ...]
    ) -> None:
        if like is not _UNTOLD and there(like) != here:
            raise FileFormatError(
                f"At {'.'.join(path) or 'the root'} the file has {what} {here}, `like` has "
                f"{there(like) or _type_name(like)}."
            )

    def finish(self) -> None:
        if self.used != len(self.data):
            raise FileFormatError(f"{len(self.data) - self.used} bytes are left over at the end.")


def _one_level(x: Any) -> tuple[list[tuple[str, Any]] | None, Any]:
    """The children of a pytree node by name, and how to put it together; `None` for a leaf."""
    flat, treedef = jax.tree_util.tree_flatten_with_path(x, is_leaf=lambda y: y is not x)
    if any(path == () for path, _ in flat):
        return None, treedef
    return [(jax.tree_util.keystr(path), child) for path, child in flat], treedef


def _type_name(x: Any) -> str:
    return f"{type(x).__module__}.{type(x).__qualname__}"


def _dtype_and_shape(x: Any) -> tuple[Any, tuple[int, ...]] | None:
    described = isinstance(x, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)
    return (x.dtype, x.shape) if described else None
