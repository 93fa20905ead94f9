"""The stored answers for `neuromancer.slim`: values, gradients, promises and errors."""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from conftest import load_golden

import jaxinfo.maps as maps

CASES, DATA = load_golden("slim")
NONLINEARITIES = {"tanh": jnp.tanh, "relu": jax.nn.relu}


def of_kind(*kinds):
    chosen = [case for case in CASES if case["kind"] in kinds]
    return pytest.mark.parametrize("case", chosen, ids=[case["id"] for case in chosen])


def value(x):
    """What a case names: an array of the data file, or the value itself."""
    return DATA[x] if isinstance(x, str) and x in DATA else x


def definition(case, name):
    return value(case["outputs"][name]["definition"])


def options_of(constructor):
    names = {"insize": "in_features", "outsize": "out_features", "bias": "use_bias"}
    return {names.get(k, k): math.inf if v == "inf" else v for k, v in constructor.items()}


def parameters(case):
    return {name: DATA[array] for name, array in case["params"].items()}


def build(case):
    cls = getattr(maps, case["class"])
    return functools.partial(cls.from_parameters, **options_of(case["constructor"]))


def one_of_each_class():
    return {case["class"]: case for case in CASES if case["kind"] == "linear_map"}.values()


def close_as_sets(actual, expected, tol):
    """Each value beside another one of the other side: eigenvalues have no order of their own."""
    distance = np.abs(np.asarray(actual)[:, None] - expected)
    pairs = scipy.optimize.linear_sum_assignment(distance)
    assert np.all(distance[pairs] <= tol * (1 + np.abs(expected[pairs[1]])))


def joined(x):
    """Complex numbers given by a trailing axis of 2."""
    return x[..., 0] + 1j * x[..., 1]


def close(actual, expected, tol=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=tol, atol=tol)


@eqx.filter_jit
def everything(m, x, with_eigenvalues):
    return m(x), m.effective_W(), m.reg_error(), m.eig() if with_eigenvalues else None


@of_kind("linear_map")
def test_map(case, x64):
    m = build(case)(parameters(case))
    x, y = value(case["inputs"]["x"]), definition(case, "forward")
    if case["constructor"].get("complex"):
        x, y = joined(x), joined(y)
    found, W, reg_error, eigenvalues = everything(m, x, "eigenvalues" in case["outputs"])
    close(found, y)
    close(W, definition(case, "effective_W"))
    if definition(case, "reg_error") is not None:
        # The penalties' eigenvalue iteration stops at rounding of 1e-9 or so, relative.
        close(reg_error, definition(case, "reg_error"), tol=1e-8)
    assert reg_error.shape == ()
    if eigenvalues is not None:
        close_as_sets(eigenvalues, definition(case, "eigenvalues"), tol=1e-6)
    check_invariants(case, np.asarray(W))


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in one_of_each_class()])
def test_map_in_single_precision(case):
    """And without `jit`, an operation at a time."""
    m = build(case)(parameters(case))
    x, y = value(case["inputs"]["x"]), definition(case, "forward")
    if case["constructor"].get("complex"):
        x, y = joined(x), joined(y)
    y = np.asarray(y)
    size = max(1.0, np.abs(y).max())
    worst = 50 * max(case["f32_err"]["y"], 1e-7) if case.get("f32_err") else 1e-5
    np.testing.assert_allclose(m(x), y, rtol=0, atol=worst * size)


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c["id"]) for c in CASES if c["kind"] == "linear_map" and c.get("grads")],
)
def test_gradient(case, x64):
    make = build(case)
    assert case["grads"]["loss"] in ("sum(forward(x)**2)", "sum(|forward(x)|^2)")
    x = value(case["inputs"]["x"])
    x = joined(x) if case["constructor"].get("complex") else x

    def loss(params):
        return jnp.sum(jnp.abs(make(params)(x)) ** 2)

    params = {k: jnp.asarray(v) for k, v in parameters(case).items()}
    gradient = jax.jit(jax.grad(loss))(params)
    for name, expected in case["grads"]["wrt"].items():
        close(gradient[name], value(expected["value"]), tol=max(expected["tol"], 1e-8))


INVARIANTS = {
    "orth_rows": lambda W: np.abs(W @ W.conj().T - np.eye(len(W))).max(),
    "orth_cols": lambda W: np.abs(W.conj().T @ W - np.eye(W.shape[1])).max(),
    "row_sum_min": lambda W: W.sum(1).min(),
    "row_sum_max": lambda W: W.sum(1).max(),
    "col_sum_min": lambda W: W.sum(0).min(),
    "col_sum_max": lambda W: W.sum(0).max(),
    "entry_min": lambda W: W.min(),
    "entry_max": lambda W: W.max(),
    "sym_res": lambda W: np.abs(W - W.T).max(),
    "skew_res": lambda W: np.abs(W + W.T).max(),
    "damp_res": lambda W, gamma: np.abs((W + W.T) / 2 - gamma * np.eye(len(W))).max(),
    "sv_min": lambda W: np.linalg.svd(W, compute_uv=False).min(),
    "sv_max": lambda W: np.linalg.svd(W, compute_uv=False).max(),
    "spectral_radius": lambda W: np.abs(np.linalg.eigvals(W)).max(),
    "eig_abs_min": lambda W: np.abs(np.linalg.eigvals(W)).min(),
    "eig_real_min": lambda W: np.linalg.eigvals(W).real.min(),
    "eig_real_max": lambda W: np.linalg.eigvals(W).real.max(),
    "eig_imag_absmax": lambda W: np.abs(np.linalg.eigvals(W).imag).max(),
    "eig_disc": lambda W, center: np.abs(np.linalg.eigvals(W) - center).max(),
    "off_row_abs_sum_min": lambda W: np.abs(W - np.diag(np.diag(W))).sum(1).min(),
    "off_row_abs_sum_max": lambda W: np.abs(W - np.diag(np.diag(W))).sum(1).max(),
    "diag_min": lambda W: np.diag(W).min(),
    "diag_max": lambda W: np.diag(W).max(),
    "rank": lambda W: np.linalg.matrix_rank(W),
    "det": np.linalg.det,
    "normal_res": lambda W: np.abs(W @ W.T - W.T @ W).max(),
    "eye_res": lambda W: np.abs(W - np.eye(*W.shape)).max(),
}


def check_invariants(case, W):
    for invariant in case.get("invariants") or ():
        if invariant["kind"] not in INVARIANTS:  # two that `violation` measures itself
            assert invariant["kind"] in ("symplectic_res", "schur_eig")
            continue
        measured = INVARIANTS[invariant["kind"]](W, **invariant.get("args", {}))
        low = -math.inf if invariant["lo"] is None else invariant["lo"]
        high = math.inf if invariant["hi"] is None else invariant["hi"]
        assert low - invariant["tol"] <= measured <= high + invariant["tol"], invariant["kind"]


@of_kind("error")
def test_constructor(case, getkey):
    cls = getattr(maps, case["class"])
    make = functools.partial(cls, **options_of(case["constructor"]), key=getkey())
    if case["outputs"]["expected"] == "works":
        m = make()
        assert m(jnp.ones((2, m.in_features))).shape == (2, m.out_features)
        assert jnp.isfinite(m.reg_error())
    else:
        with pytest.raises(ValueError, match="`"):
            make()


def cell_args(constructor):
    args = dict(constructor)
    for name in ("hidden_map", "input_map"):
        if name in args:
            args[name] = getattr(maps, args[name])
    if "nonlin" in args:
        args["nonlin"] = NONLINEARITIES[args["nonlin"]]
    return args


@of_kind("rnn_cell")
def test_cell(case, x64):
    cell = maps.RNNCell.from_parameters(parameters(case), **cell_args(case["constructor"]))
    h = eqx.filter_jit(cell)(value(case["inputs"]["input"]), value(case["inputs"]["hidden"]))
    close(h, definition(case, "forward"))
    close(cell.reg_error(), definition(case, "reg_error"))


def build_rnn(case):
    args = dict(case["constructor"])
    args["cell_args"] = cell_args(args["cell_args"])
    return functools.partial(maps.RNN.from_parameters, **args)


@of_kind("rnn")
def test_rnn(case, x64):
    rnn = build_rnn(case)(parameters(case))
    states = value(case["inputs"].get("init_states"))
    output, h_n = eqx.filter_jit(rnn)(value(case["inputs"]["sequence"]), states)
    close(output, definition(case, "output"))
    close(h_n, definition(case, "h_n"))
    close(rnn.reg_error(), definition(case, "reg_error"))


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c["id"]) for c in CASES if c["kind"] == "rnn" and c.get("grads")]
)
def test_rnn_gradient(case, x64):
    make = build_rnn(case)
    sequence, states = value(case["inputs"]["sequence"]), value(case["inputs"].get("init_states"))
    assert case["grads"]["loss"] == "sum(output**2)"

    def loss(params):
        return jnp.sum(make(params)(sequence, states)[0] ** 2)

    params = {k: jnp.asarray(v) for k, v in parameters(case).items()}
    gradient = jax.jit(jax.grad(loss))(params)
    for name, expected in case["grads"]["wrt"].items():
        close(gradient[name], value(expected["value"]), tol=max(expected["tol"], 1e-8))


@of_kind("behaviour")
def test_rnn_behaviour(case, getkey):
    rnn = maps.RNN(**case["constructor"], key=getkey())
    inputs, expected = case["inputs"], case["outputs"]["expected"]
    if expected == "NaN outputs":
        output, _ = rnn(jnp.full((5, 2, 3), jnp.nan))
        assert jnp.all(jnp.isnan(output))
        return
    shape = inputs.get("sequence_shape", (5, 2, 3))
    states = jnp.zeros(inputs["init_states_shape"]) if "init_states_shape" in inputs else None
    with pytest.raises(ValueError, match="must"):
        rnn(jnp.zeros(shape), states)


@of_kind("function")
def test_function(case, x64):
    x = np.asarray(value(case["inputs"]["x"]))
    if case["function"] == "IdentityGradReLU":
        close(maps.identity_grad_relu(x), definition(case, "forward"))
        _, back = jax.vjp(maps.identity_grad_relu, jnp.asarray(x))
        close(back(jnp.asarray(value(case["inputs"]["grad_out"])))[0], definition(case, "backward"))
        return
    u = np.asarray(value(case["inputs"]["u"]))
    reference = case["outputs"]["value"]
    expected = value(reference.get("recommended") or reference["definition"])
    close(maps.householder_product(x, u, case["constructor"]["k"]), expected)


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c["id"]) for c in CASES if "cdf_qz" in c.get("outputs", {})],
)
def test_l0_gates(case, x64):
    m = build(case)(parameters(case))
    x = np.asarray(case["inputs"]["cdf_x"])
    close(m.cdf_qz(x[:, None, None]), definition(case, "cdf_qz"))
    close(jnp.stack([m.cdf_qz(point) for point in x]), definition(case, "cdf_qz"))
    close(m.cdf_qz(-0.2), 1e-6)
    close(m.cdf_qz(1.2), 1 - 1e-6)
    stretched = m.quantile_concrete(value(case["inputs"]["u"]))
    close(stretched, definition(case, "quantile_concrete"))
    gated = jnp.clip(stretched, 0, 1) * m.weight
    close(gated, definition(case, "effective_W_train_given_u"))
