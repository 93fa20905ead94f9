"""The reference cases of `scnn.activations`, and of exact enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import load_golden

from jaxinfo.patterns import (
    compute_activation_patterns,
    enumerate_patterns,
    generate_index_lists,
    sample_convolutional_gates,
    sample_dense_gates,
    sample_gate_vectors,
    sample_sparse_gates,
)
from jaxinfo.patterns._gates import patch_mask

CASES, DATA = load_golden("scnn")
KEY = jax.random.key(7)
OPTIONS = ("filter_duplicates", "filter_zero", "bias", "active_proportion")


def arrays(case, group):
    return {name: DATA[path] for name, path in case[group].items()}


def named(prefix, status=None):
    found = [c for c in CASES if c["id"].startswith(prefix) and status in (None, c["status"])]
    return pytest.mark.parametrize("case", found, ids=[c["id"] for c in found])


def options(case):
    return {name: case["params"][name] for name in OPTIONS if name in case["params"]}


def columns(matrix):
    return sorted(map(tuple, np.asarray(matrix).astype(int).T.tolist()))


def generates(X, G, D, strict=False):
    """Whether gates give patterns, the constant column added where the data lacks it."""
    X = np.asarray(X, np.float64)
    if X.shape[1] < G.shape[0]:
        X = np.concatenate([X, np.ones((len(X), 1))], axis=1)
    product = X @ np.asarray(G, np.float64)
    return np.array_equal(product > 0 if strict else product >= 0, np.asarray(D) == 1)


PLAIN = [
    c
    for c in CASES
    if c["function"].endswith("compute_activation_patterns")
    and c["status"] in ("agree", "peer_crash")
]


@pytest.mark.parametrize("case", PLAIN, ids=[c["id"] for c in PLAIN])
def test_documented_patterns(case):
    given, expected = arrays(case, "inputs"), arrays(case, "outputs")
    D, G = compute_activation_patterns(given["X"], given["G"], **options(case))
    assert columns(D) == columns(expected["D"])
    assert D.shape[1] == G.shape[1]
    assert generates(given["X"], G, D)
    # First occurrences, in their order in G.
    order = np.sort(expected["cols"])
    np.testing.assert_array_equal(
        np.asarray(G)[: given["G"].shape[0]][: given["X"].shape[1] - case["params"]["bias"]],
        np.float32(given["G"][:, order])[: given["X"].shape[1] - case["params"]["bias"]],
    )
    if case["compare"]["D"] == "exact":
        np.testing.assert_array_equal(D, expected["D"])
    by_column = {tuple(d): g for d, g in zip(expected["D"].T, expected["G_out"].T, strict=True)}
    if case["params"]["filter_duplicates"]:
        for d, g in zip(np.asarray(D).T, np.asarray(G).T, strict=True):
            np.testing.assert_allclose(g, by_column[tuple(d)], rtol=1e-5, atol=1e-6)


@named("pub-capzero")
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("duplicates", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_both_readings_of_zero(case, strict, duplicates, zero):
    given, expected = arrays(case, "inputs"), arrays(case, "outputs")
    D, G = compute_activation_patterns(given["X"], given["G"], duplicates, zero, strict=strict)
    reading = "strict" if strict else "nonstrict"
    name = f"{reading}_fd{int(duplicates)}_fz{int(zero)}"
    assert columns(D) == columns(expected[f"D_{name}"])
    if not duplicates:
        np.testing.assert_array_equal(D, expected[f"D_{name}"])
    if f"cols_{name}" in expected:
        np.testing.assert_array_equal(G, given["G"][:, np.sort(expected[f"cols_{name}"])])
    assert generates(given["X"], G, D, strict)


@named("pub-capaptie")
@pytest.mark.parametrize("strict", [False, True])
def test_example_on_the_quantile(case, strict):
    given, expected = arrays(case, "inputs"), arrays(case, "outputs")
    D, G = compute_activation_patterns(given["X"], given["G"], **options(case), strict=strict)
    np.testing.assert_array_equal(D, expected["D_strict" if strict else "D_nonstrict"])
    np.testing.assert_array_equal(G, expected["G_out"])  # integers: no rounding, no nudge


@named("pub-capapext")
@pytest.mark.parametrize("strict", [False, True])
def test_extreme_proportions(case, strict):
    given, expected = arrays(case, "inputs"), arrays(case, "outputs")
    D, G = compute_activation_patterns(given["X"], given["G"], **options(case), strict=strict)
    np.testing.assert_array_equal(D, expected["D_strict" if strict else "D_nonstrict"])
    np.testing.assert_allclose(G, expected["G_out"], rtol=1e-5, atol=1e-5)


@named("pub-capapconst")
def test_constant_other_than_one_is_divided_out(case):
    given, expected = arrays(case, "inputs"), arrays(case, "outputs")
    D, G = compute_activation_patterns(given["X"], given["G"], **options(case))
    assert columns(D) == columns(expected["D"])
    assert generates(given["X"], G, D)
    by_column = dict(zip(map(tuple, expected["D"].T), expected["G_out_consistent"].T, strict=True))
    for d, g in zip(np.asarray(D).T, np.asarray(G).T, strict=True):
        np.testing.assert_allclose(g, by_column[tuple(d)], rtol=1e-5, atol=1e-6)


@named("pub-capshape", "doc_vs_code")
def test_strict_gates_of_zeros(case):
    given, expected = arrays(case, "inputs"), arrays(case, "outputs")
    D, G = compute_activation_patterns(given["X"], given["G"], **options(case), strict=True)
    assert D.shape == expected["D"].shape and G.shape == expected["G_out"].shape
    np.testing.assert_array_equal(D, expected["D"])
    ones, _ = compute_activation_patterns(given["X"], given["G"], **options(case))
    np.testing.assert_array_equal(ones, np.ones((len(given["X"]), 1)))


@named("pub-capint")
def test_integer_data(case):
    given, expected = arrays(case, "inputs"), arrays(case, "outputs")
    for strict, name in ((False, "D_nonstrict"), (True, "D_strict")):
        D, _ = compute_activation_patterns(given["X"], given["G"], **options(case), strict=strict)
        assert columns(D) == columns(expected[name])


ERRORS = [c for c in CASES if c["status"] == "error"]


@pytest.mark.parametrize("case", ERRORS, ids=[c["id"] for c in ERRORS])
def test_bad_input_is_refused(case):
    functions = {
        "compute_activation_patterns": compute_activation_patterns,
        "generate_index_lists": generate_index_lists,
        "sample_gate_vectors": lambda **p: sample_gate_vectors(KEY, **p),
        "sample_sparse_gates": lambda **p: sample_sparse_gates(KEY, **p),
        "sample_convolutional_gates": lambda **p: sample_convolutional_gates(KEY, **p),
    }
    function = functions[case["function"].rpartition(".")[2]]
    with pytest.raises(ValueError):
        function(**arrays(case, "inputs"), **case["params"])


@named("pub-capnan")
def test_nan_is_refused(case):
    with pytest.raises(ValueError, match="NaN"):
        compute_activation_patterns(**arrays(case, "inputs"))


@named("pub-capapnb")
def test_proportion_needs_the_bias(case):
    with pytest.raises(ValueError, match="needs `bias=True`"):
        compute_activation_patterns(**arrays(case, "inputs"), **options(case))


@named("pub-idx")
def test_index_lists(case):
    expected = arrays(case, "outputs")
    padded, lengths = expected["lists_padded"], expected["lengths"]
    lists = [row[:k].tolist() for row, k in zip(padded, lengths, strict=True)]
    assert generate_index_lists(case["params"]["d"], case["params"]["order"]) == lists


@named("pub-dense")
def test_dense_gates(case):
    gates = sample_dense_gates(KEY, **case["params"])
    assert gates.shape == tuple(arrays(case, "outputs")["shape"])
    np.testing.assert_array_equal(gates != 0, arrays(case, "outputs")["support"])


@named("pub-sparse")
def test_sparse_gates(case):
    params = case["params"]
    gates = sample_sparse_gates(KEY, params["d"], params["n_samples"], params["sparsity_indices"])
    np.testing.assert_array_equal(gates != 0, arrays(case, "outputs")["support"])


@named("pub-gates")
def test_gate_vectors(case):
    params = {k: v for k, v in case["params"].items() if k != "gates_per_list"}
    gates = sample_gate_vectors(KEY, **params)
    expected = arrays(case, "outputs")
    assert gates.shape == tuple(expected["shape"])
    np.testing.assert_array_equal(gates, sample_gate_vectors(KEY, **params))
    if "support" in expected:
        np.testing.assert_array_equal(gates != 0, expected["support"])


@named("pub-conv-")
def test_patches(case):
    corners = jnp.asarray(DATA[case["inputs"]["upper_left_coords"]])
    params = case["params"]
    shape = (params["channels"], params["image_size"], params["image_size"])
    mask = patch_mask(corners, shape, (params["kernel_size"],) * 2)
    np.testing.assert_array_equal(mask, arrays(case, "outputs")["mask"])


@named("pub-convs")
def test_convolutional_gates(case):
    gates = sample_gate_vectors(KEY, **case["params"])
    expected = arrays(case, "outputs")
    assert gates.shape == tuple(expected["shape"])
    np.testing.assert_array_equal((gates != 0).sum(0), expected["nonzeros_per_column"])


@named("pub-enum")
def test_enumeration(case):
    expected = arrays(case, "outputs")
    X = DATA[case["inputs"]["X"]]
    for strict, name in ((False, "D_nonstrict"), (True, "D_strict")):
        found = enumerate_patterns(X, strict=strict)
        # With a column of ones in X, w = 0 adds nothing to the open cells.
        assert columns(found.unpack()) == columns(expected.get(name, expected["D_open"]))
        assert found.p == len(set(columns(found.unpack())))


@named("pub-enumb")
def test_enumeration_adds_the_bias(case):
    X = DATA[case["inputs"]["X"]]
    for points in (X[:, :-1], X):
        found = enumerate_patterns(points, bias=True)
        assert columns(found.unpack()) == columns(arrays(case, "outputs")["D_open"])


@named("pub-enum")
def test_witnesses_give_the_enumerated_patterns(case):
    given, expected = arrays(case, "inputs"), arrays(case, "outputs")
    if "G" in given:
        D, _ = compute_activation_patterns(given["X"], given["G"], filter_zero=False)
        assert columns(D) == columns(expected["D_open"])
    else:
        for strict, name in ((False, "nonstrict"), (True, "strict")):
            D, _ = compute_activation_patterns(
                given["X"], given[f"G_{name}"], filter_zero=False, strict=strict
            )
            assert columns(D) == columns(expected[f"D_{name}"])
