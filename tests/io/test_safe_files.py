"""Files: what comes back is what went in, and nothing else ever comes back."""

import dataclasses
import hashlib
import json
import math
import pickle
from collections import namedtuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from corruption import corruptions
from hypothesis import given, settings, strategies as st

from jaxinfo.io import (
    _MAGIC,
    FileFormatError,
    _from_bytes,
    _to_bytes,
    deserialize,
    makedir,
    makedirs,
    serialize,
)

Pair = namedtuple("Pair", ["left", "right"])


def same(a, b):
    """Equal in value and in every type."""
    if type(a) is not type(b) and not (isinstance(a, jax.Array) and isinstance(b, jax.Array)):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, jax.Array | np.ndarray | np.generic):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return a.dtype == b.dtype and same(jr.key_data(a), jr.key_data(b))
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b or (a != a and b != b)


VALUES = {
    "scalars": {"n": None, "t": True, "i": -(2**200), "f": 0.1, "s": "é\ud800\n", "b": b"\x00\xff"},
    "floats": [math.inf, -math.inf, math.nan, -0.0, 5e-324, complex(1, -2)],
    "keys of a dictionary": {2: "a", "1": "b", 2.5: "c", None: "d"},
    "nested": ([{"a": [(), [], {}]}, (1, (2, (3,)))],),
    "arrays": {
        str(dtype): jnp.arange(6).reshape(2, 3).astype(dtype)
        for dtype in ("bool", "int8", "uint32", "float16", "bfloat16", "float32", "complex64")
    },
    "numpy": [np.arange(3.0), np.float64(0.1), np.int64(7), np.zeros((0, 4)), np.array(2)],
    "strided": [np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(9)[::2]],
    "typed keys": [jr.key(3), jr.split(jr.key(1, impl="rbg"), 4)],
    "float8": jnp.arange(4.0).astype(jnp.float8_e4m3fn),
}


@pytest.mark.parametrize("name", VALUES)
def test_round_trip(name, tmp_path):
    serialize(tmp_path / "file", VALUES[name])
    assert same(deserialize(tmp_path / "file"), VALUES[name])
    assert same(deserialize(tmp_path / "file", like=VALUES[name]), VALUES[name])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda leaf: st.lists(leaf) | st.dictionaries(st.text(), leaf) | st.tuples(leaf, leaf),
        max_leaves=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_tree_of_python_values(tree):
    assert same(_from_bytes(_to_bytes(tree)), tree)


def make_mlp(seed):
    return eqx.nn.MLP(2, 3, 4, 1, activation=jax.nn.tanh, key=jr.key(seed))


def test_modules_and_optimiser_states(tmp_path):
    model = make_mlp(0)
    params = eqx.filter(model, eqx.is_array)
    state = optax.adam(1e-3).init(params)
    tree = {"model": model, "state": state, "key": jr.key(5), "pair": Pair(1, jnp.ones(2)), "e": 3}
    blank = {
        "model": make_mlp(1),
        "state": optax.adam(1e-3).init(eqx.filter(make_mlp(1), eqx.is_array)),
        "key": jr.key(0),
        "pair": Pair(0, jax.ShapeDtypeStruct((2,), jnp.float32)),
        "e": 0,
    }
    serialize(tmp_path / "file", tree)
    found = deserialize(tmp_path / "file", like=blank)
    assert eqx.tree_equal(found["model"], model)
    assert found["pair"].left == 1 and found["e"] == 3
    assert jax.tree_util.tree_structure(found["state"]) == jax.tree_util.tree_structure(state)
    x = jnp.ones(2)
    np.testing.assert_array_equal(found["model"](x), model(x))
    with pytest.raises(FileFormatError, match="Files hold no code: pass `like=`"):
        deserialize(tmp_path / "file")


WRONG = {
    "shape": ([jnp.zeros(2)], [jnp.zeros(3)]),
    "dtype": ([jnp.zeros(2)], [jnp.zeros(2, jnp.int32)]),
    "length": ([1, 2], [1]),
    "keys": ({"a": 1}, {"b": 1}),
    "list or tuple": ([1], (1,)),
    "type of a number": (1, 1.0),
    "class": (eqx.nn.Identity(), eqx.nn.Lambda(jnp.tanh)),
    "layers": (make_mlp(0), eqx.nn.MLP(2, 3, 5, 1, key=jr.key(0))),
    "depth": (make_mlp(0), eqx.nn.MLP(2, 3, 4, 2, key=jr.key(0))),
    "key": (jr.key(0), jr.key(0, impl="rbg")),
    "nothing": (None, 0),
}


@pytest.mark.parametrize("name", WRONG)
def test_like_must_agree(name):
    tree, like = WRONG[name]
    with pytest.raises(FileFormatError):
        _from_bytes(_to_bytes(tree), like)


@pytest.mark.parametrize(
    "tree",
    [object(), {"a": [lambda x: x, {1, 2}]}, {(1, 2): 3}, np.array(["text"]), [np.str_("a")]],
)
def test_what_cannot_be_written_makes_no_file(tree, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(TypeError, match="Cannot write"):
        serialize(tmp_path / "file", tree)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    serialize(tmp_path / "file", [1])

    def crash(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(OSError, match="no space"):
        serialize(tmp_path / "file", [2])
    assert deserialize(tmp_path / "file") == [1]
    assert len(list(tmp_path.iterdir())) == 1


def test_64_bit_arrays_need_x64():
    jax.config.update("jax_enable_x64", True)
    try:
        data = _to_bytes(jnp.array(0.1))
        assert float(_from_bytes(data)) == 0.1
    finally:
        jax.config.update("jax_enable_x64", False)
    with pytest.raises(FileFormatError, match="jax_enable_x64"):
        _from_bytes(data)


class Bomb:
    def __reduce__(self):
        return print, ("the program ran",)


@pytest.mark.parametrize("data", [b"", b"JAX", pickle.dumps(Bomb()), b"PK\x03\x04" + bytes(100)])
def test_foreign_files(data, tmp_path, capsys):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(FileFormatError, match="Not a file of"):
        deserialize(tmp_path / "file")
    assert capsys.readouterr().out == ""


TREE = {"w": jnp.arange(6.0).reshape(2, 3), "k": jr.key(1), "s": ["text", 1, 2.5, None], "b": b"ab"}


def test_ten_thousand_corrupted_files(tmp_path):
    good = _to_bytes(TREE)
    file = tmp_path / "file"
    for i, bad in enumerate(corruptions(good, 10_000, other=_to_bytes({"w": jnp.zeros(9)}))):
        if i % 100 == 0:  # through the file system now and then; the rest in memory, for speed
            file.write_bytes(bad)
            with pytest.raises(FileFormatError):
                deserialize(file)
            continue
        with pytest.raises(FileFormatError):
            _from_bytes(bad)
    assert same(_from_bytes(good), TREE)


def forge(header, blocks=b""):
    """A file with a right checksum, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = len(text).to_bytes(8, "little") + text + blocks
    return _MAGIC + hashlib.sha256(body).digest() + body


def header_and_blocks(tree):
    good = _to_bytes(tree)
    start = len(_MAGIC) + 40
    length = int.from_bytes(good[start - 8 : start], "little")
    return good[start : start + length], good[start + length :]


def array_node(**changes):
    return {"kind": "jax", "dtype": "float32", "shape": [2], **changes}


# Where eight bytes of zeros would be refused for another reason, or not at all.
BLOCKS = {
    "boolean 2": b"\x00\x01\x02\x01\x00\x00\x00\x00",
    "true for a side": bytes(8),
    "too many axes": bytes(1),
    **dict.fromkeys(
        ("key twice", "number with spaces", "half a complex", "name twice", "version true"), b""
    ),
}
HOSTILE = {
    "no header": b"",
    "not JSON": b"{",
    "not an object": [],
    "no tree": {"version": 1},
    "name twice": b'{"version":1,"version":1,"tree":{"kind":"none"}}',
    "version true": {"version": True, "tree": {"kind": "none"}},
    "version": {"version": 2, "tree": {"kind": "none"}},
    "deep": b'{"version":1,"tree":' + b'{"kind":"list","items":[' * 100_000,
    "deep and whole": b'{"version":1,"tree":'
    + b'{"kind":"list","items":[' * 20_000
    + b"]}" * 20_000
    + b"}",
    **{
        name: {"version": 1, "tree": tree}
        for name, tree in {
            "kind": {"kind": "module"},
            "no kind": {},
            "object": {"kind": "float", "value": "__import__('os')"},
            "text as bool": {"kind": "bool", "value": "yes"},
            "number as text": {"kind": "str", "value": 3},
            "dtype": array_node(dtype="object"),
            "structured": array_node(dtype="V8"),
            "too long": array_node(shape=[3]),
            "negative": array_node(shape=[-1, -2]),
            "huge": array_node(shape=[2**62, 2**62]),
            "empty but huge": array_node(shape=[0, 2**62, 2**62]),
            "fraction": array_node(shape=[1.5]),
            "left over": array_node(shape=[1]),
            "unequal": {"kind": "dict", "keys": [{"kind": "str", "value": "a"}], "items": []},
            "list as key": {
                "kind": "dict",
                "keys": [{"kind": "list", "items": []}],
                "items": [{"kind": "none"}],
            },
            "impl": {"kind": "key", "impl": "os.system", "data": array_node(dtype="uint32")},
            "key data": {"kind": "key", "impl": "rbg", "data": array_node(dtype="float32")},
            "function": {"kind": "function"},
            "key twice": {
                "kind": "dict",
                "keys": [{"kind": "str", "value": "a"}] * 2,
                "items": [{"kind": "none"}] * 2,
            },
            "number with spaces": {"kind": "int", "value": " 10 "},
            "half a complex": {"kind": "complex", "value": ["1"]},
            "boolean 2": {"kind": "numpy", "dtype": "bool", "shape": [8]},
            "scalar with a shape": array_node(kind="scalar", shape=[2]),
            "true for a side": array_node(shape=[2, True]),
            "too many axes": {"kind": "numpy", "dtype": "int8", "shape": [1] * 65},
            "class": {"kind": "node", "type": "os.system", "names": [], "items": []},
        }.items()
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name):
    with pytest.raises(FileFormatError):
        _from_bytes(forge(HOSTILE[name], BLOCKS.get(name, bytes(8))))


def test_two_thousand_forged_headers():
    """With the checksum right, a changed header is refused or says something else; no more."""
    header, blocks = header_and_blocks(TREE)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(2000):
        bad = bytearray(header)
        bad[int(rng.integers(len(bad)))] = int(rng.choice(list(b'0123456789"{}[],:abcxyz-')))
        try:
            _from_bytes(forge(bytes(bad), blocks))
        except FileFormatError:
            refused += 1
    assert refused > 1000


JUNK = [None, 0, -1, 2**70, 1.5, "", "0x1", [], {}, [1], {"kind": "none"}, True, "key", "scalar"]


def _places(node):
    """Every dictionary or list of a header with each of its keys."""
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in list(children):
        yield node, key
        if isinstance(child, dict | list):
            yield from _places(child)


def test_headers_of_another_structure():
    """Parts replaced, left out or doubled, with a right checksum: refused, or another tree."""
    header, blocks = header_and_blocks(TREE)
    rng = np.random.default_rng(2)
    refused = 0
    for i in range(600):
        forged = json.loads(header)
        places = list(_places(forged))
        node, key = places[int(rng.integers(len(places)))]
        match i % 4:
            case 0 | 1:
                node[key] = JUNK[int(rng.integers(len(JUNK)))]
            case 2:
                del node[key]
            case 3 if isinstance(node, list):
                node.insert(key, node[key])
        for like in ((), (TREE,)):
            try:
                _from_bytes(forge(forged, blocks), *like)
            except FileFormatError:
                refused += 1
    assert refused > 600


def test_folders(tmp_path):
    makedir(tmp_path / "a" / "b")  # absolute and nested
    makedir(str(tmp_path / "a" / "b"))  # and again
    makedirs([tmp_path / "c", str(tmp_path / "d" / "e")])
    assert (tmp_path / "a/b").is_dir() and (tmp_path / "c").is_dir() and (tmp_path / "d/e").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        makedir(tmp_path / "file")
    with pytest.raises(TypeError, match="Use `makedir`"):
        makedirs("folder")


def test_relative_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    makedir("x/y")
    makedir("./x/../z")
    assert (tmp_path / "x/y").is_dir() and (tmp_path / "z").is_dir()


def test_a_writer_that_fails_half_way_leaves_the_old_file(tmp_path, monkeypatch):
    serialize(tmp_path / "file", [1])
    monkeypatch.setattr("os.fsync", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        serialize(tmp_path / "file", [2])
    assert deserialize(tmp_path / "file") == [1]
    assert len(list(tmp_path.iterdir())) == 1


def test_links_stay_links_and_long_names_are_names(tmp_path):
    serialize(tmp_path / "file", 1)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    serialize(tmp_path / "link", 2)
    assert deserialize(tmp_path / "file") == 2 and (tmp_path / "link").is_symlink()
    serialize(str(tmp_path / ("a" * 250)), 3)
    assert deserialize(str(tmp_path / ("a" * 250))) == 3


def test_trees_too_deep_to_be_read_are_not_written(tmp_path):
    itself = {}
    itself["again"] = [itself]
    with pytest.raises(ValueError, match="or holds itself, at again.0.again"):
        serialize(tmp_path / "file", itself)
    assert not list(tmp_path.iterdir())
    deepest = 0
    for _ in range(64):
        deepest = [deepest]
    assert same(_from_bytes(_to_bytes(deepest)), deepest)
    with pytest.raises(ValueError, match="more than 64 levels"):
        _to_bytes([deepest])


def test_what_is_more_than_its_numbers_is_not_written():
    for x in (np.ma.array([1, 2], mask=[False, True]), np.rec.array([(1,)], dtype=[("a", "i4")])):
        with pytest.raises(TypeError, match="Cannot write"):
            _to_bytes(x)
    mapped = np.arange(3).view(np.memmap)
    assert same(_from_bytes(_to_bytes(mapped)), np.arange(3))
    assert same(_from_bytes(_to_bytes(np.arange(3, dtype=">i4"))), np.arange(3, dtype=np.int32))


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Record:
    weight: jax.Array
    inner: object
    label: str = dataclasses.field(metadata={"static": True}, default="")


def test_nested_records_and_named_tuples():
    tree = Record(jnp.ones(2), Pair(Record(jnp.zeros(0), None), [Pair(1, ())]), "a")
    like = Record(jnp.zeros(2), Pair(Record(jnp.zeros(0), None), [Pair(0, ())]), "b")
    found = _from_bytes(_to_bytes(tree), like)
    np.testing.assert_array_equal(found.weight, 1)
    assert found.inner.right == [Pair(1, ())] and found.label == "b"  # static: as `like` says
    assert found.inner.left.weight.shape == (0,)


@pytest.mark.parametrize("bits", [8, 16])
def test_every_pattern_of_bits_of_the_small_floats(bits):
    codes = np.arange(2**bits, dtype=f"uint{bits}")
    names = {8: [n for n in dir(jnp) if n.startswith("float8_")], 16: ["float16", "bfloat16"]}
    for name in names[bits]:
        x = jax.lax.bitcast_convert_type(codes, getattr(jnp, name))
        found = _from_bytes(_to_bytes([x, np.asarray(x)]))
        for y in found:
            assert y.dtype == x.dtype
            np.testing.assert_array_equal(np.asarray(y).view(codes.dtype), codes)
