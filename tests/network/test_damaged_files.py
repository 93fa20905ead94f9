"""Files of weights and of programs: damaged ones are refused by name, and nothing in them runs."""

import io
import json
import pickle
import zipfile

import equinox as eqx
import jax.random as jr
import numpy as np
import pytest
from corruption import corruptions
from safetensors.numpy import save as save_safetensors

from jaxinfo.network import from_torch, load_torch_weights
from jaxinfo.network._torch._archive import load_program
from jaxinfo.network._torch._files import read_arrays

LAYER = eqx.nn.Linear(3, 2, key=jr.key(0))
WEIGHTS = {
    "weight": np.array([[0.5, 1, 2], [0.25, -1, 3]], np.float32),
    "bias": np.float32([4, 5]),
}


def bytes_of(kind, arrays):
    if kind == "safetensors":
        return save_safetensors(arrays)
    file = io.BytesIO()
    if kind == "npz":
        np.savez_compressed(file, **arrays)
    else:
        torch = pytest.importorskip("torch", reason="a state dict is read by torch")
        torch.save({name: torch.from_numpy(a) for name, a in arrays.items()}, file)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")  # torch and numpy may warn of what they then refuse
@pytest.mark.parametrize(("kind", "count"), (("safetensors", 7000), ("npz", 2000), ("pt", 1000)))
def test_damaged_weights_are_refused_or_the_same(kind, count, tmp_path):
    good, path = bytes_of(kind, WEIGHTS), tmp_path / f"damaged.{kind}"
    other = bytes_of(kind, {"weight": np.zeros((9, 9), np.float32)})
    # The numbers of a safetensors file have no checksum: its header alone can contradict itself.
    header = 8 + int.from_bytes(good[:8], "little") if kind == "safetensors" else None
    refused = 0
    for bad in corruptions(good, count, other, header):
        path.write_bytes(bad)
        try:
            loaded = load_torch_weights(LAYER, path)
        except ValueError as error:
            assert "damaged" in str(error)
            refused += 1
        else:
            for name, array in WEIGHTS.items():
                np.testing.assert_array_equal(getattr(loaded, name), array)
    assert refused > count * 0.7
    path.write_bytes(good)
    np.testing.assert_array_equal(load_torch_weights(LAYER, path).weight, WEIGHTS["weight"])


def safetensors(header, body=bytes(16)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
HEADERS = {
    "no JSON": b"{'weight': 1}",
    "no UTF-8": b'{"\xff": 1}',
    "a list": [1, 2],
    "a number for an entry": {"weight": 3},
    "no dtype": {"weight": {"shape": [2, 2], "data_offsets": [0, 16]}},
    "unknown dtype": {"weight": ENTRY | {"dtype": "Q9"}},
    "dtype of another kind": {"weight": ENTRY | {"dtype": ["F32"]}},
    "three offsets": {"weight": ENTRY | {"data_offsets": [0, 8, 16]}},
    "text for offsets": {"weight": ENTRY | {"data_offsets": ["0", "16"]}},
    "another size": {"weight": ENTRY | {"shape": [3, 2]}},
    "a fraction": {"weight": ENTRY | {"shape": [2.5, 2]}},
    "a negative side": {"weight": ENTRY | {"shape": [-2, -2]}},
    "a size past 64 bits": {"weight": ENTRY | {"shape": [2**63, 2**63]}},
    "overlapping": {
        "weight": ENTRY,
        "bias": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
    },
    "a gap": {"weight": ENTRY | {"shape": [2], "data_offsets": [8, 16]}},
    "deep": b'{"weight":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a boolean of 3": {"weight": {"dtype": "BOOL", "shape": [16], "data_offsets": [0, 16]}},
}


@pytest.mark.parametrize("name", HEADERS)
def test_malformed_safetensors(name, tmp_path):
    path = tmp_path / "malformed.safetensors"
    path.write_bytes(safetensors(HEADERS[name], b"\x03" * 16))
    with pytest.raises(ValueError, match="malformed.safetensors"):
        read_arrays(path)


@pytest.mark.parametrize("dtype", ("I32", "U32"))
def test_whole_numbers_do_not_become_floats(dtype, tmp_path):
    layer = eqx.nn.Linear(2, 2, use_bias=False, key=jr.key(0))
    path = tmp_path / "changed.safetensors"
    path.write_bytes(safetensors({"weight": ENTRY | {"dtype": dtype}}, np.ones(4, "<f4").tobytes()))
    with pytest.raises(ValueError, match="weight"):
        load_torch_weights(layer, path)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The members of a `.pt2` file by their names within its folder, and a way to write others."""
    torch = pytest.importorskip("torch", reason="programs are torch's")
    folder = tmp_path_factory.mktemp("programs")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(x["a"])

    sizes = ({"a": {0: torch.export.Dim("b")}},)
    exported = torch.export.export(Net(), ({"a": torch.zeros(2, 4)},), dynamic_shapes=sizes)
    torch.export.save(exported, folder / "good.pt2")
    with zipfile.ZipFile(folder / "good.pt2") as archive:
        return folder, {name: archive.read(name) for name in archive.namelist()}


def write(folder, members):
    with zipfile.ZipFile(folder / "hostile.pt2", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return folder / "hostile.pt2"


def everywhere(value, change):
    """Every dictionary and text of a tree of JSON, changed."""
    if isinstance(value, dict):
        return change({key: everywhere(item, change) for key, item in value.items()})
    return (
        [everywhere(item, change) for item in value] if isinstance(value, list) else change(value)
    )


def run(marker):
    return f"__import__('pathlib').Path({str(marker)!r}).touch()"


def pickled_constant(members, marker):
    class Payload:
        def __reduce__(self):
            return eval, (run(marker),)

    table = "good/data/constants/model_constants_config.json"
    entry = {"path_name": "elsewhere/x", "is_param": False, "use_pickle": True, "tensor_meta": None}
    members[table] = json.dumps({"config": {"extra": entry}})
    members["good/data/constants/elsewhere/x"] = pickle.dumps(Payload())


def pickled_samples(members, marker):
    class Payload:
        def __reduce__(self):
            return eval, (run(marker),)

    members["good/data/sample_inputs/model.pt"] = pickle.dumps(Payload())


def native_library(members, marker):
    members["good/data/aotinductor/model/m.wrapper.so"] = b"\x7fELF"


def changed(members, change):
    model = "good/models/model.json"
    before = json.loads(members[model])
    after = everywhere(before, change)
    assert after != before  # the attack is in
    members[model] = json.dumps(after)


def symbolic_size(members, marker):
    def change(item):
        if isinstance(item, dict) and "expr_str" in item:
            return item | {"expr_str": run(marker)}
        return item

    changed(members, change)


def enumeration(members, marker):
    (marker.parent / "module_named_by_a_file.py").write_text(run(marker))
    named = json.dumps([{"__enum__": True, "fqn": "module_named_by_a_file:Kind", "name": "a"}])

    def inside(item):
        return item | {"context": named} if isinstance(item, dict) and "context" in item else item

    def change(item):
        if isinstance(item, str) and item.startswith("[1, {"):
            return json.dumps(everywhere(json.loads(item), inside))
        return item

    changed(members, change)


def operator(members, marker):
    def change(item):
        if isinstance(item, dict) and str(item.get("target", "")).startswith("torch.ops."):
            return item | {"target": "os.system"}
        return item

    changed(members, change)


ATTACKS = (pickled_constant, pickled_samples, native_library, symbolic_size, enumeration, operator)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_nothing_in_a_program_runs_that_a_model_does_not_need(attack, program, monkeypatch):
    folder, members = program
    members, marker = dict(members), folder / "executed"
    attack(members, marker)
    monkeypatch.syspath_prepend(folder)
    path = write(folder, members)
    for trusted in (False, True):
        with pytest.raises(ValueError, match="hostile.pt2"):
            from_torch(path, trusted=trusted)
        assert not marker.exists()


def test_a_program_needs_trust(program):
    folder, members = program
    path = write(folder, members)
    with pytest.raises(ValueError, match="trusted=True"):
        load_program(path, False)
    assert load_program(path, True).module() is not None


@pytest.mark.filterwarnings("ignore")
def test_damaged_programs_are_refused_or_the_same(program):
    torch = pytest.importorskip("torch", reason="programs are torch's")
    folder, members = program
    good = write(folder, members).read_bytes()
    x, loads = {"a": torch.ones(2, 4)}, 0
    expected = load_program(folder / "hostile.pt2", True).module()(x)
    for bad in corruptions(good, 300):
        (folder / "damaged.pt2").write_bytes(bad)
        try:
            found = load_program(folder / "damaged.pt2", True)
        except ValueError as error:
            assert "damaged.pt2" in str(error)
        else:
            loads += 1
            torch.testing.assert_close(found.module()(x), expected, rtol=0, atol=0)
    assert loads < 100
