"""Toy tasks and permuted MNIST."""

import gzip
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import load_golden
from corruption import corruptions

from jaxinfo.data import tasks

CASES, DATA = load_golden("slim")
SEQUENCE_TASKS = {
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "xor": lambda a, b: a != b,
}


def marked_values(X):
    values, mask = np.asarray(X[..., 0]), np.asarray(X[..., 1])
    return values[mask == 1].reshape(len(X), 2).T


@pytest.mark.parametrize("name", SEQUENCE_TASKS)
@pytest.mark.parametrize("T", (2, 3, 40))
def test_two_marks_and_their_relation(name, T, getkey):
    X, y = getattr(tasks, name)(getkey(), T, 200)
    assert X.shape == (200, T, 2)
    assert set(np.unique(X[..., 1])) <= {0.0, 1.0}
    a, b = marked_values(X)
    np.testing.assert_allclose(y, SEQUENCE_TASKS[name](a, b), rtol=1e-6)


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c["id"]) for c in CASES if c.get("function") in SEQUENCE_TASKS],
)
def test_the_stored_targets_are_these_relations(case):
    X, y = DATA[case["inputs"]["X"]], DATA[case["outputs"]["y"]["definition"]]
    np.testing.assert_allclose(SEQUENCE_TASKS[case["function"]](*marked_values(X)), y)


def test_values_are_uniform_and_marks_anywhere(getkey):
    X, _ = tasks.add(getkey(), 10, 20_000)
    assert abs(float(X[..., 0].mean()) - 0.5) < 0.01
    frequency = np.asarray(X[..., 1].mean(axis=0))
    assert np.all(frequency[:-1] > 0.15) and 0 < frequency[-1] < 0.05


def test_tasks_are_reproducible_and_jit(getkey):
    key = getkey()
    eager = tasks.xor(key, 9, 5)
    jitted = jax.jit(tasks.xor, static_argnums=(1, 2))(key, 9, 5)
    assert all(jnp.array_equal(a, b) for a, b in zip(eager, jitted, strict=True))


def test_a_length_of_one_is_refused(getkey):
    with pytest.raises(ValueError, match="at least 2; got 1"):
        tasks.add(getkey(), 1, 3)


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c["id"]) for c in CASES if c.get("function") == "ackley"]
)
def test_ackley_golden(case, x64):
    y = tasks.ackley_function(DATA[case["inputs"]["X"]])
    expected = DATA[case["outputs"]["y"]["definition"]]
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


def test_ackley_at_and_near_its_minimum(getkey):
    assert tasks.ackley_function(jnp.zeros(3)) == 0
    assert jnp.array_equal(jax.grad(tasks.ackley_function)(jnp.zeros(3)), jnp.zeros(3))
    np.testing.assert_allclose(tasks.ackley_function(jnp.full(2, 1e-6)), 4e-6, rtol=1e-3)
    X, y = tasks.ackley(getkey(), 50, 4)
    assert X.shape == (50, 4) and jnp.all(jnp.abs(X) <= 40) and jnp.all(y > 0)


@pytest.mark.parametrize(
    "point",
    (np.int8([12, 12]), np.uint8([16, 16]), np.int32([65536, 65536]), np.float16([300, -250])),
    ids=lambda point: str(point.dtype),
)
def test_ackley_at_numbers_whose_squares_do_not_fit(point):
    x = point.astype(float)
    waves = np.exp(np.cos(2 * np.pi * x).mean())
    expected = -20 * np.exp(-0.2 * np.sqrt((x**2).mean())) - waves + 20 + np.e
    np.testing.assert_allclose(tasks.ackley_function(jnp.asarray(point)), expected, rtol=1e-3)


def write_idx(path, array, pack=lambda b: b):
    header = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(pack(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    numbered = np.zeros((24, 4, 4))
    numbered[:, 0, 0] = np.arange(24)  # so that examples can be told apart
    write_idx(tmp_path / "train-images-idx3-ubyte", numbered)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(24) % 10)
    write_idx(
        tmp_path / "t10k-images-idx3-ubyte.gz", rng.integers(0, 256, (5, 4, 4)), gzip.compress
    )
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.arange(5))
    return tmp_path


def test_pmnist_splits_without_overlap(folder, getkey):
    before = sorted(folder.iterdir())
    train, valid, test = tasks.load_pMNIST_data(getkey(), folder)
    assert [part[0].shape for part in (train, valid, test)] == [(22, 16), (2, 16), (5, 16)]
    numbers = np.concatenate([np.asarray(part[0][:, 0]) * 256 for part in (train, valid)])
    assert sorted(numbers) == list(range(24))
    labels = np.concatenate([part[1] for part in (train, valid)])
    np.testing.assert_array_equal(labels, numbers % 10)
    assert jnp.all(train[2] == 16)
    assert sorted(folder.iterdir()) == before


def test_pmnist_permutes_all_parts_alike(folder, getkey):
    key = getkey()
    plain, permuted = (tasks.load_pMNIST_data(key, str(folder), perm) for perm in (False, True))
    where = int(jnp.argmax(permuted[0][0].sum(axis=0)))
    np.testing.assert_array_equal(permuted[0][0][:, where], plain[0][0][:, 0])
    np.testing.assert_array_equal(permuted[2][0][:, where], plain[2][0][:, 0])
    assert not jnp.array_equal(permuted[2][0], plain[2][0])


def test_pmnist_with_a_dot_in_its_names(folder, getkey):
    key = getkey()
    by_hyphen = tasks.load_pMNIST_data(key, folder)
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", ".idx"))
    by_dot = tasks.load_pMNIST_data(key, folder)
    jax.tree.map(np.testing.assert_array_equal, by_dot, by_hyphen)


def test_damaged_idx_files_are_refused_by_name(folder, getkey):
    key, name = getkey(), "train-images-idx3-ubyte"
    good = (folder / name).read_bytes()
    expected = tasks._read_idx(folder, "train-images", 3)[1]
    refused = 0
    for bad in corruptions(
        good, 1000, other=(folder / "train-labels-idx1-ubyte").read_bytes(), until=16
    ):
        (folder / name).write_bytes(bad)
        try:
            _, found = tasks._read_idx(folder, "train-images", 3)
        except ValueError as error:
            assert name in str(error)
            refused += 1
        else:  # numbers without a checksum: what the file says, in the shape that it says
            assert found.tobytes() == bad[16:] and found.size == expected.size
    assert refused > 800
    for kept in range(16):
        (folder / name).write_bytes(good[:kept])
        with pytest.raises(ValueError, match=name):
            tasks.load_pMNIST_data(key, folder)


def test_pmnist_errors(folder, getkey):
    (folder / "train-labels-idx1-ubyte").write_bytes(b"not idx")
    with pytest.raises(ValueError, match="not an IDX file"):
        tasks.load_pMNIST_data(getkey(), folder)
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="train-labels-idx1-ubyte"):
        tasks.load_pMNIST_data(getkey(), folder)
