"""The known answers of `ngclearn.utils`, one rule for each documented function."""

import functools
import types

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from conftest import load_golden

from jaxinfo import activations, data, io, metrics, ops, surrogate

CASES, ARRAYS = load_golden("ngclearn")

# Where several readings are stored: the one that is the documented choice here.
CHOSEN = ("out", "out_jax_grad", "out_peer", "d_spike_323")

# Judged by a test of its own below, or by the tests of its module.
APART = {
    "create_function",
    "drop_out",
    "initialize_params",
    "pull_equations",
    "generate_patch_set",
    "straight_through_estimator",
    "triangular_estimator",
    "arctan_estimator",
    "secant_lif_estimator",
    "DataLoader",
    "serialize",
}


def name_of(case):
    return case["function"].rsplit(".", 1)[1]


def arrays(case, field):
    return {key: ARRAYS[place] for key, place in case[field].items()}


def of(*names):
    chosen = [case for case in CASES if name_of(case) in names]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case["id"])


@of(*({name_of(case) for case in CASES} - APART))
def test_functions_of_arrays(case, x64):
    name = name_of(case)
    (function,) = [getattr(m, name) for m in (activations, ops, metrics) if name in vars(m)]
    out = jax.jit(functools.partial(function, **case["params"]))(*arrays(case, "inputs").values())
    expected = next(ARRAYS[case["outputs"][key]] for key in CHOSEN if key in case["outputs"])
    assert out.shape == expected.shape
    np.testing.assert_allclose(out, expected, rtol=1e-7, atol=1e-12)


@of("create_function")
def test_create_function(case, x64):
    if case["status"] == "error":
        with pytest.raises(KeyError):
            activations.create_function(case["params"]["fun_name"])
        return
    f, d_f = activations.create_function(case["params"]["fun_name"])
    x, out = arrays(case, "inputs")["x"], arrays(case, "outputs")
    fx, dfx = jax.jit(lambda x: (f(x), d_f(x)))(x)
    np.testing.assert_allclose(fx, out["fx"], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(dfx, out["dfx"], rtol=1e-7, atol=1e-12)


@of("straight_through_estimator", "triangular_estimator", "arctan_estimator")
def test_surrogates(case, x64):
    check_surrogate(case)


@of("secant_lif_estimator")
def test_secant(case, x64):
    check_surrogate(case)


def check_surrogate(case):
    build = getattr(surrogate, name_of(case))
    params = {k: v for k, v in case["params"].items() if k in ("thr", "alpha", "c1", "c2")}
    (v,) = arrays(case, "inputs").values()
    out = arrays(case, "outputs")
    spike_fx, d_spike_fx = build()
    same_spike, surr_fx, same_d = build(get_surr_fx=True)

    @jax.jit
    def all_of(v):
        return {
            "spike": spike_fx(v, params.get("thr", 0.0)),
            "d_spike": d_spike_fx(v, **params),
            "d_spike_323": d_spike_fx(v, **params),
            "surr": surr_fx(v, **params),
            "slope": jax.vmap(jax.grad(lambda v: spike_fx(v, **params)))(v),
            "same": (same_spike(v, **params), same_d(v, **params)),
        }

    results = all_of(v)
    checked = [key for key in results if key in out]
    assert checked
    for key in checked:
        np.testing.assert_allclose(results[key], out[key], rtol=1e-7, atol=1e-12)
    if "d_spike" in out:  # what jax.grad sees is the same formula
        np.testing.assert_allclose(results["slope"], out["d_spike"], rtol=1e-7, atol=1e-12)
    np.testing.assert_array_equal(results["same"][0], spike_fx(v, **params))
    np.testing.assert_array_equal(results["same"][1], results["d_spike"])


@of("drop_out")
def test_drop_out(case, x64):
    rate = case["params"]["rate"]
    if case["inputs"]:
        x, out = arrays(case, "inputs")["input"], arrays(case, "outputs")
        output, mask = ops.drop_out(jr.key(0), x, rate)
        np.testing.assert_allclose(output, out["output"])
        assert "mask" not in out or np.all(np.asarray(mask) == out["mask"])
        return
    x, out = jnp.ones(case["params"]["input_shape"]), arrays(case, "outputs")
    output, mask = ops.drop_out(jr.key(0), x, rate)
    assert set(np.unique(mask)) == set(np.asarray(out["mask_values_documented"]))
    np.testing.assert_allclose(output, x * mask / (1 - rate))
    assert abs(mask.mean() - out["expected_keep_fraction"]) < out["keep_fraction_5_sigma"]


@of("initialize_params")
def test_initialize_params(case, x64):
    kernel, shape = case["params"]["initKernel"], tuple(case["params"]["shape"])
    if case["status"] == "error":
        with pytest.raises(KeyError):
            ops.initialize_params(jr.key(0), tuple(kernel), shape)
        return
    values = ops.initialize_params(jr.key(0), tuple(kernel), shape)
    out = arrays(case, "outputs")
    if "out" in out:
        np.testing.assert_allclose(values, out["out"])
        return
    assert values.shape == tuple(out["shape"])
    assert abs(values.mean() - out["expected_mean"]) < out["mean_tolerance_6_sigma"]
    np.testing.assert_allclose(values.std(), out["expected_std"], rtol=0.1)


@of("pull_equations")
def test_pull_equations(case):
    parts = {k: types.SimpleNamespace(**v) for k, v in case["params"]["components"].items()}
    text = ops.pull_equations(types.SimpleNamespace(components=parts))
    if "expected_string" in case["params"]:
        assert text == case["params"]["expected_string"]
    assert all(part in text for part in case["params"].get("expected_substrings", ()))


@of("generate_patch_set")
def test_patches(case, x64):
    params = case["params"] | {"patch_size": tuple(case["params"]["patch_size"])}
    (images,) = arrays(case, "inputs").values()
    if case["status"] == "error":
        with pytest.raises(ValueError):
            data.generate_patch_set(images, **params, key=jr.key(0))
        return
    out = arrays(case, "outputs")
    if "out" in out:
        np.testing.assert_allclose(
            data.generate_patch_set(images, **params), out["out"], atol=1e-12
        )
        if "out_uncentered" in out:
            grid = data.patch_grid(images, params["patch_size"], (1, 1))
            np.testing.assert_array_equal(grid, out["out_uncentered"])
        return
    patches = np.asarray(data.generate_patch_set(images, **params, key=jr.key(0)))
    assert patches.shape == tuple(out["shape"])
    np.testing.assert_allclose(patches.mean(axis=1), 0, atol=1e-12)
    candidates = out["candidates"] - out["candidates"].mean(axis=1, keepdims=True)
    per_image, rows = int(out["candidates_per_image"]), int(out["rows_per_image"])
    for i in range(len(images)):
        own = candidates[i * per_image : (i + 1) * per_image]
        for patch in patches[i * rows : (i + 1) * rows]:
            assert np.any(np.all(np.isclose(own, patch), axis=1))


@of("DataLoader")
def test_loader(case):
    params, inputs = dict(case["params"]), arrays(case, "inputs")
    options = {k: params[k] for k in ("disable_shuffle", "ensure_equal_batches") if k in params}
    args = list(inputs.items()), params["batch_size"]
    if not case["outputs"]:
        with pytest.raises(ValueError):
            data.DataLoader(*args, key=jr.key(0), **options)
        return
    # In order and without a key, a short last batch is filled with the first examples.
    key = None if options.get("disable_shuffle") else jr.key(0)
    loader, out = data.DataLoader(*args, key=key, **options), arrays(case, "outputs")
    batches = list(loader)
    assert [len(batch[0][1]) for batch in batches] == out["batch_sizes"].tolist()
    assert [name for name, _ in batches[0]] == list(inputs)
    if "batch_indices" in out:
        np.testing.assert_array_equal(loader.indices(0), out["batch_indices"])
        for batch, rows in zip(batches, np.asarray(out["batch_indices"]), strict=True):
            for name, served in batch:
                np.testing.assert_array_equal(served, inputs[name][rows[rows >= 0]])


@of("serialize")
def test_serialize(case, tmp_path):
    io.serialize(tmp_path / "file", case["params"]["object"])
    assert io.deserialize(tmp_path / "file") == case["params"]["object"]
