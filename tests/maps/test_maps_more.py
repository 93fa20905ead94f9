"""What is particular to one family, and maps inside models."""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
import scipy.stats
from hypothesis import given, settings, strategies as st

import jaxinfo.maps as maps
from jaxinfo.maps import _rnn
from jaxinfo.maps._rnn import gelu


def one_by_one(x, u):
    for row in np.asarray(u, np.float64):
        square = row @ row
        if square > 0:
            x = x - 2 * np.outer(x @ row, row) / square
    return x


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(0, 5), st.sampled_from([1e-20, 1.0, 1e15]))
def test_a_product_of_reflections_is_one_after_the_other(seed, m, scale):
    rng = np.random.default_rng(seed)
    x, u = rng.normal(size=(3, 4)), rng.normal(size=(m, 4)) * (rng.random((m, 1)) > 0.2)
    y = maps.householder_product(x, scale * u)
    np.testing.assert_allclose(y, one_by_one(x, u), atol=5e-6)


def test_reflection_limits(getkey):
    x, u = jr.normal(getkey(), (2, 5)), jr.normal(getkey(), (5,))
    np.testing.assert_array_equal(maps.householder_product(x, u, 0), x)
    y = maps.householder_product(x, u, 2)
    np.testing.assert_array_equal(y[:, :3], x[:, :3])
    np.testing.assert_allclose(maps.householder_product(y, u, 2), x, atol=1e-6)
    gradient = jax.grad(lambda u: jnp.sum(maps.householder_product(x, u) ** 3))(jnp.zeros(5))
    np.testing.assert_array_equal(gradient, 0)
    for bad in (
        lambda: maps.householder_product(x, u, 6),
        lambda: maps.householder_product(x, u[1:]),
    ):
        with pytest.raises(ValueError, match="`[ku]`"):
            bad()


@pytest.mark.parametrize(
    "Map",
    (
        maps.OrthogonalLinear,
        maps.CayleyLinear,
        maps.PerronFrobeniusLinear,
        maps.ShearSymplecticLinear,
    ),
)
def test_the_promise_at_512_in_single_precision(Map, getkey):
    """The rest of the maps, and after training: `python -m benchmarks.promises`."""

    @jax.jit
    def violations(key):
        m = Map(512, 512, key=key)
        scales = jnp.array([1.0, 100.0])
        return jax.lax.map(lambda scale: jax.tree.map(lambda a: scale * a, m).violation(), scales)

    assert jnp.all(violations(getkey()) < jnp.array([2e-6, 2e-5]))


@pytest.mark.parametrize("n", (3, 4))
def test_orthogonal_reaches_both_determinants_and_can_leave_the_identity(n, getkey):
    Q = jr.orthogonal(getkey(), n)
    near = jax.jit(lambda target: maps.OrthogonalLinear.from_matrix(target).effective_W())
    for target in (Q, Q.at[0].multiply(-1), jnp.eye(n), jnp.eye(n)[::-1]):
        np.testing.assert_allclose(near(target), target, atol=2e-6)
    x = jr.normal(getkey(), (6, n))
    identity = maps.OrthogonalLinear.from_matrix(jnp.eye(n))
    gradient = eqx.filter_grad(lambda m: jnp.sum((m(x) - x[:, ::-1]) ** 2))(identity)
    assert jnp.linalg.norm(gradient.U) > 0.1


@pytest.mark.parametrize("Map", (maps.ExponentialLinear, maps.CayleyLinear))
def test_a_rotation_from_a_matrix(Map, getkey):
    """The nearest rotation, also where the nearest orthogonal matrix is a reflection, or turns by pi."""
    reflection = jr.orthogonal(getkey(), 5)
    reflection = reflection.at[0].multiply(-jnp.linalg.det(reflection)) * jnp.arange(1.0, 6)
    near = Map.from_matrix(reflection)
    assert near.violation() < 2e-6
    np.testing.assert_allclose(jnp.linalg.det(near.effective_W()), 1, atol=1e-5)
    # What makes a rotation the nearest one: P^T W symmetric, no two eigenvalues of negative sum.
    stretch = near.effective_W().T @ reflection
    np.testing.assert_allclose(stretch, stretch.T, atol=1e-5)
    values = jnp.linalg.eigvalsh(stretch)
    assert values[0] < -0.5 and values[0] + values[1] > 0
    # No member of the Cayley family turns a plane by pi; this one is near one that does.
    tolerance = 2e-3 if Map is maps.CayleyLinear else 1e-5
    Q = jr.orthogonal(getkey(), 5)
    for signs in ([1, -1, 1, -1, 1], [-1, -1, -1, 1, -1]):
        turn = (Q * jnp.array(signs, jnp.float32)) @ Q.T
        np.testing.assert_allclose(Map.from_matrix(turn).effective_W(), turn, atol=tolerance)


@pytest.mark.parametrize(
    "Map, options",
    [
        (maps.StableSplitLinear, {"sigma_min": 0.4}),
        (maps.StableSplitLinear, {"sigma_min": -3.0, "sigma_max": 0.2}),
        (maps.PerronFrobeniusLinear, {"sigma_min": 0.5}),
        (maps.GershgorinLinear, {"real": False, "sigma_min": -1.0}),
    ],
)
def test_projection_onto_a_convex_family(Map, options, getkey):
    """What is nearest sees every member at an obtuse angle."""

    @jax.vmap
    def corner(key):  # members far from each other
        m = jax.tree.map(lambda a: 100 * a, Map(5, 5, key=key, **options))
        return m.effective_W()

    W = 0.4 * jr.normal(getkey(), (5, 5))
    near = Map.from_matrix(W, **options)
    assert near.violation() < 2e-6
    away, P = W - near.effective_W(), near.effective_W()
    # Row by row, for the rows of these families are free of each other.
    assert jnp.all(jnp.sum(away * (corner(jr.split(getkey(), 500)) - P), axis=2) < 1e-5)


def test_schur_from_a_normal_matrix_with_real_eigenvalues(getkey):
    Q = jr.orthogonal(getkey(), 6)
    turn = 0.7 * jnp.array([[0.6, -0.8], [0.8, 0.6]])
    T = jax.scipy.linalg.block_diag(
        jnp.diag(jnp.array([2.0, -1.0, 2.0])), turn, jnp.array([[-1.0]])
    )
    W = Q @ T @ Q.T
    near = maps.SchurDecompositionLinear.from_matrix(W)
    np.testing.assert_allclose(near.effective_W(), W, atol=1e-5)
    np.testing.assert_allclose(jnp.sort(near.gamma), [0.7, 1, 2], rtol=1e-5)


def test_gershgorin_from_a_matrix_with_zeros():
    pairs = jnp.eye(4)[jnp.array([1, 0, 3, 2])]
    for options in ({}, {"symmetric": False}, {"real": False}):
        near = maps.GershgorinLinear.from_matrix(pairs, **options)
        np.testing.assert_allclose(near.effective_W(), 0.25 * (pairs + jnp.eye(4)), atol=1e-6)
        alike = maps.GershgorinLinear.from_matrix(jnp.zeros((4, 4)), **options).effective_W()
        np.testing.assert_allclose(alike, (1 + 2 * jnp.eye(4)) / 12, atol=1e-6)


@pytest.mark.parametrize(
    "Map", sorted(set(maps.maps.values()), key=lambda m: m.__name__), ids=lambda m: m.__name__
)
def test_empty_batches(Map, getkey):
    m = Map(4, 4, Map is not maps.TrivialNullSpaceLinear, key=getkey())
    assert m(jnp.zeros((0, 4))).shape == (0, 4)
    assert m(jnp.zeros((2, 0, 4))).shape == (2, 0, 4)


def test_gelu_is_exact_and_so_is_its_derivative(x64):
    x = jnp.linspace(-8, 8, 101)
    normal = scipy.stats.norm
    value, slope = jax.jvp(gelu, (x,), (jnp.ones_like(x),))
    np.testing.assert_allclose(value, x * normal.cdf(x), atol=1e-15)
    np.testing.assert_allclose(gelu(x), value, atol=0)
    np.testing.assert_allclose(slope, normal.cdf(x) + x * normal.pdf(x), atol=1e-15)
    single, single_slope = jax.jvp(gelu, (x.astype(jnp.float32),), (jnp.ones(101, jnp.float32),))
    np.testing.assert_allclose(single, value, atol=3e-7)
    np.testing.assert_allclose(single_slope, slope, atol=3e-7)


@pytest.mark.parametrize(
    "W, radius",
    [
        ([[0.0, 1.2], [-1.2, 0.0]], 1.2),
        ([[0.6, 0.0, 5.0], [0.0, -0.6, 1.0], [0.0, 0.0, 0.1]], 0.6),
        ([[0.0, 1.0, 2.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]], 0.0),
        (np.zeros((3, 3)), 0.0),
        ([[0.5, 1e4], [0.0, 0.4]], 0.5),
        ([[-3e-20]], 3e-20),
    ],
    ids=("pair", "plus-minus", "nilpotent", "zero", "skewed", "tiny"),
)
def test_spectral_radius(W, radius):
    found, gradient = jax.jit(jax.value_and_grad(maps.spectral_radius))(jnp.asarray(W, jnp.float32))
    np.testing.assert_allclose(found, radius, rtol=1e-5)
    assert jnp.all(jnp.isfinite(gradient))


def exact(W):
    return np.abs(np.linalg.eigvals(np.asarray(W))).max()


def test_spectral_radius_of_random_matrices_and_its_derivative(getkey, x64):
    both = jax.jit(lambda W, V: jax.jvp(maps.spectral_radius, (W,), (V,)))
    for n in (2, 5, 5, 5):
        W, V = jr.normal(getkey(), (2, n, n))
        found, slope = both(W, V)
        np.testing.assert_allclose(found, exact(W), rtol=1e-10)
        h = 1e-6
        finite = (exact(W + h * V) - exact(W - h * V)) / (2 * h)
        np.testing.assert_allclose(slope, finite, rtol=1e-5, atol=1e-7)


def test_power_bound_is_brought_below_its_bound(getkey):
    m = maps.PowerBoundLinear(8, 8, key=getkey(), max_p=0.9)

    @eqx.filter_jit
    def descend(m):
        def step(m, _):
            return eqx.apply_updates(
                m, jax.tree.map(lambda g: -0.1 * g, eqx.filter_grad(lambda m: m.reg_error())(m))
            ), None

        return jax.lax.scan(step, m, length=100)[0]

    assert np.abs(np.linalg.eigvals(descend(m).W)).max() < 0.91


@pytest.mark.parametrize("p", (1, 2, math.inf, "fro", "nuc"))
def test_bounded_norm_is_the_matrix_norm(p, getkey):
    m = maps.BoundedNormLinear(3, 5, key=getkey(), p=p, sigma_min=10, sigma_max=20)
    W = np.asarray(m.effective_W())
    np.testing.assert_allclose(m.reg_error(), 10 - np.linalg.norm(W, p), rtol=1e-5)
    zero = jax.tree.map(jnp.zeros_like, m)
    gradient = eqx.filter_grad(lambda m: m.reg_error())(zero)
    assert jnp.all(jnp.isfinite(gradient.weight))


def test_bounded_norm_of_the_entries(getkey):
    m = maps.BoundedNormLinear(3, 5, key=getkey(), p=3, entrywise=True, sigma_max=0.2)
    W = np.asarray(m.effective_W())
    np.testing.assert_allclose(m.reg_error(), (np.abs(W) ** 3).sum() ** (1 / 3) - 0.2, rtol=1e-5)


def test_l0_draws_with_a_key_only(getkey):
    m = maps.L0Linear(5, 40, key=getkey(), droprate_init=0.5)
    x, key = jr.normal(getkey(), (3, 5)), getkey()
    np.testing.assert_array_equal(m(x), m(x))
    np.testing.assert_allclose(m(x, key=key), m.sampled(key)(x), atol=1e-6)
    assert not jnp.allclose(m(x, key=key), m(x))
    gates = jax.jit(jax.vmap(m.gates))(jr.split(getkey(), 20))
    closed = 1 - jnp.mean(1 - m.cdf_qz(0.0))
    assert abs(float(jnp.mean(gates == 0) - closed)) < 0.03
    u = jnp.linspace(0.01, 0.99, 7)[:, None, None]
    np.testing.assert_allclose(
        m.cdf_qz(m.quantile_concrete(u)), jnp.broadcast_to(u, (7, 5, 40)), atol=1e-5
    )


def test_gershgorin_representatives_have_one_spectrum(getkey):
    m = maps.GershgorinLinear(6, 6, key=getkey(), sigma_min=-1, sigma_max=2)
    rows = maps.GershgorinLinear.from_parameters(
        {"w": m.w, "diag": m.diag}, 6, 6, sigma_min=-1, sigma_max=2
    )
    np.testing.assert_array_equal(m.effective_W(), m.effective_W().T)
    spectra = [np.sort(np.linalg.eigvals(each.effective_W()).real) for each in (rows, m)]
    np.testing.assert_allclose(*spectra, atol=1e-5)
    assert not jnp.allclose(rows.effective_W(), m.effective_W())


def test_learnt_bounds_may_cross(getkey):
    m = maps.SVDLinearLearnBounds(3, 3, key=getkey(), sigma_min=0, sigma_max=1)
    crossed = eqx.tree_at(lambda m: m.sigma_min, m, jnp.asarray(1.5))
    assert [float(b) for b in crossed.bounds()] == [1.0, 1.5]
    assert crossed.violation() < 1e-6
    np.testing.assert_array_less(1 - 1e-5, jnp.linalg.svd(crossed.effective_W(), compute_uv=False))


@pytest.mark.parametrize("tied", (True, False))
def test_butterfly_never_forms_the_matrix(tied):
    n = 1 << 12
    m = eqx.filter_jit(maps.ButterflyLinear)(n, n, key=jr.key(0), tied_weight=tied)
    arrays, static = eqx.partition(m, eqx.is_array)
    grad = jax.jit(jax.grad(lambda arrays, x: jnp.sum(eqx.combine(arrays, static)(x) ** 2)))
    memory = grad.lower(arrays, jnp.ones(n)).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 4 * n * 12 * 12  # some arrays of n log n; n^2 is 64 MiB


def test_butterfly_starts_orthogonal(getkey):
    for complex in (False, True):
        for increasing in (False, True):
            m = maps.ButterflyLinear(
                8, 8, key=getkey(), complex=complex, ortho_init=True, increasing_stride=increasing
            )
            W = np.asarray(m.effective_W())
            np.testing.assert_allclose(W @ W.conj().T, np.eye(8), atol=1e-5)


def test_initial_scale_follows_the_inputs(getkey):
    wide = maps.RightStochasticLinear(4, 400, key=getkey())
    assert 0.45 < jnp.max(jnp.abs(wide.weight)) <= 0.5
    tall = maps.Linear(400, 4, True, key=getkey())
    assert jnp.max(jnp.abs(tall.bias)) <= 0.05


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda k: maps.SymmetricLinear(3, 4, key=k), "must be square"),
        (lambda k: maps.SymplecticLinear(3, 3, key=k), "even"),
        (lambda k: maps.HamiltonianLinear(5, 5, key=k), "even"),
        (lambda k: maps.TrivialNullSpaceLinear(5, 3, key=k), "cannot lower"),
        (lambda k: maps.TrivialNullSpaceLinear(3, 5, key=k, epsilon=0), "positive"),
        (lambda k: maps.PerronFrobeniusLinear(3, 3, key=k, sigma_min=2, sigma_max=1), "exceed"),
        (lambda k: maps.SpectralLinear(4, 3, key=k, n_V_reflectors=4), "0...3"),
        (lambda k: maps.LowRankLinear(4, 3, key=k, rank=4), "1...3"),
        (lambda k: maps.KroneckerLinear(6, 4, key=k, in_split=4), "divide 6"),
        (lambda k: maps.BoundedNormLinear(3, 3, key=k, p="frobenius"), "must be one of"),
        (lambda k: maps.L0Linear(3, 3, key=k, droprate_init=0), "strictly between"),
        (lambda k: maps.Linear(0, 3, key=k), "at least 1"),
        (lambda k: maps.SpectralLinear(3, 3, key=k, sigma_max=math.inf), "finite"),
        (lambda k: maps.PerronFrobeniusLinear(3, 3, key=k, sigma_min=math.nan), "exceed"),
        (lambda k: maps.PowerBoundLinear(3, 3, key=k, max_p=math.nan), "at least 0"),
        (lambda k: maps.Linear.from_matrix(1j * jnp.ones((3, 3))), "real matrix"),
        (lambda k: maps.IdentityLinear.from_matrix(jnp.eye(3), jnp.ones(3)), "no bias"),
        (lambda k: maps.SymplecticLinear.from_matrix(jnp.eye(4)), "invertible"),
        (lambda k: maps.Linear.from_parameters({"weight": 1j * jnp.ones((3, 3))}, 3, 3), "real"),
        (lambda k: maps.RNN(3, 4, 0, key=k), "at least 1"),
        (lambda k: maps.SpectralLinear.from_matrix(jnp.eye(3), n_U_reflectors=1), "at least 3"),
        (lambda k: maps.Linear(2, 3, key=k).eig(), "square"),
        (
            lambda k: maps.Linear.from_parameters(
                {"weight": jnp.ones((2, 2)), "bias": jnp.ones(2)}, 2, 2
            ),
            "use_bias=True",
        ),
    ],
)
def test_bad_input(make, says, getkey):
    with pytest.raises(ValueError, match=says):
        make(getkey())


def test_unknown_option(getkey):
    with pytest.raises(TypeError, match="sigma_mix"):
        maps.SpectralLinear(3, 3, key=getkey(), sigma_mix=1)


def loop(rnn, sequence, states):
    finals = []
    for cell, state in zip(rnn.rnn_cells, states, strict=True):
        outputs = []
        for x in sequence:
            state = cell(x, state)
            outputs.append(state)
        sequence = jnp.stack(outputs)
        finals.append(state)
    return sequence, jnp.stack(finals)


@pytest.mark.parametrize(
    "cell_args",
    [
        {"hidden_map": maps.PerronFrobeniusLinear, "bias": True},
        {"hidden_map": maps.ButterflyLinear, "nonlin": jnp.tanh},
        {"hidden_map": maps.OrthogonalLinear, "nonlin": functools.partial(jax.nn.softmax, axis=-1)},
        {"nonlin": lambda h: jnp.tanh(h) * jnp.arange(1.0, 5.0)},
    ],
    ids=("matrix", "fast action", "not elementwise", "of one size"),
)
def test_rnn_is_the_loop_over_its_cells(cell_args, getkey, x64):
    rnn = maps.RNN(3, 4, 2, cell_args, key=getkey())
    sequence, states = jr.normal(getkey(), (3, 2, 3)), jr.normal(getkey(), (2, 2, 4))
    arrays, static = eqx.partition(rnn, eqx.is_inexact_array)

    def of(run):
        def loss(arrays, sequence, states):
            output, finals = run(eqx.combine(arrays, static), sequence, states)
            return jnp.sum(output**2) + jnp.sum(jnp.sin(finals)), (output, finals)

        @jax.jit
        def value_gradient_and_slope(*args):
            value, gradient = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(*args)
            return value, gradient, jax.jvp(lambda *args: loss(*args)[0], args, args)[1]

        return jax.tree.leaves(value_gradient_and_slope(arrays, sequence, states))

    for mine, expected in zip(of(maps.RNN.__call__), of(loop), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-9)


def test_rnn_on_older_jax(monkeypatch, getkey):
    """Where loops over tangents have no transpose, the plain loop gives the same gradient."""
    rnn = maps.RNN(3, 4, key=getkey())
    sequence = jr.normal(getkey(), (3, 2, 3))

    def gradient():
        return eqx.filter_jit(eqx.filter_grad(lambda rnn: jnp.sum(rnn(sequence)[0] ** 2)))(rnn)

    ours = gradient()
    monkeypatch.setattr(_rnn, "_LOOPS_TRANSPOSE", False)
    monkeypatch.setattr(_rnn, "_recurrence", None)
    for mine, expected in zip(*map(jax.tree.leaves, (ours, gradient())), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-5)


def test_rnn_shapes(getkey):
    rnn = maps.RNN(3, 4, 2, {"bias": True, "hidden_map": maps.L0Linear}, key=getkey())
    output, finals = rnn(jr.normal(getkey(), (5, 2, 7, 3)))
    assert output.shape == (5, 2, 7, 4) and finals.shape == (2, 2, 7, 4)
    output, finals = rnn(jnp.zeros((0, 2, 3)))
    assert output.shape == (0, 2, 4) and finals.shape == (2, 2, 4)
    grads = eqx.filter_grad(lambda rnn: jnp.sum(rnn(jnp.zeros((0, 2, 3)))[1]))(rnn)
    assert jnp.array_equal(grads.init_states[0], jnp.full(4, 2.0))
    x, key = jr.normal(getkey(), (5, 2, 3)), getkey()
    assert jnp.allclose(rnn(x, key=key)[0], rnn(x, key=key)[0])
    assert not jnp.allclose(rnn(x, key=key)[0], rnn(x)[0])
    with pytest.raises(ValueError, match="one state for each"):
        rnn(x, jnp.zeros((3, 2, 4)))
    with pytest.raises(ValueError, match="shape"):
        rnn(x, jnp.zeros((2, 3, 4)))


def test_rnn_refuses_a_nonlinearity_with_parameters(getkey):
    with pytest.raises(TypeError, match="`nonlin` must be a function with no arrays"):
        maps.RNN(3, 4, cell_args={"nonlin": eqx.nn.PReLU()}, key=getkey())


def test_rnn_builds_its_matrix_once(getkey):
    rnn = maps.RNN(3, 4, cell_args={"hidden_map": maps.PerronFrobeniusLinear}, key=getkey())
    jaxpr = jax.make_jaxpr(lambda x: rnn(x)[0])(jnp.ones((50, 2, 3)))
    loops = [eqn for eqn in equations_of(jaxpr.jaxpr) if eqn.primitive.name == "scan"]
    assert len(loops) == 1
    assert not any(e.primitive.name == "logistic" for e in loops[0].params["jaxpr"].jaxpr.eqns)


def equations_of(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "jaxpr")):
            if equation.primitive.name != "scan" and hasattr(inner, "jaxpr"):
                yield from equations_of(inner.jaxpr)


def test_structure_keeps_shape_weights_and_bias(getkey):
    model = eqx.nn.MLP(4, 2, 4, 2, key=getkey())
    soft = maps.structure(model, lambda m: m.layers[:2], maps.SplitLinear)
    x = jr.normal(getkey(), (4,))
    np.testing.assert_allclose(soft(x), model(x), atol=1e-6)
    random = maps.structure(model, lambda m: m.layers[1], maps.ButterflyLinear, key=getkey())
    np.testing.assert_array_equal(random.layers[1].bias, model.layers[1].bias)
    with pytest.raises(ValueError, match="key="):
        maps.structure(model, lambda m: m.layers[1], maps.ButterflyLinear)
    with pytest.raises(TypeError, match="must pick"):
        maps.structure(model, lambda m: m.activation, maps.Linear)


def test_reg_errors_counts_each_penalty_once(getkey):
    lasso = maps.LassoLinear(3, 3, key=getkey(), gamma=0.5)
    model = {"a": [lasso, eqx.nn.Linear(3, 3, key=getkey())], "b": lasso}
    np.testing.assert_allclose(maps.reg_errors(model), 2 * lasso.reg_error(), rtol=1e-6)


def test_constants_are_not_parameters_and_do_not_decay(getkey):
    model = eqx.nn.Sequential(
        [
            maps.IdentityLinear(3, 3, key=getkey()),
            maps.DampedSkewSymmetricLinear(3, 3, key=getkey()),
            maps.L0Linear(3, 2, key=getkey()),
        ]
    )
    x = jr.normal(getkey(), (3,))
    assert model(x, key=getkey()).shape == (2,)
    arrays = eqx.filter(model, eqx.is_array)
    optimiser = optax.adamw(0.1, weight_decay=10.0)
    zero = jax.tree.map(jnp.zeros_like, arrays)
    updates, _ = optimiser.update(zero, optimiser.init(arrays), arrays)
    decayed = eqx.apply_updates(model, updates)
    np.testing.assert_array_equal(decayed[0](x), x)
    assert decayed[1].sigma_max == 0.5 and decayed[2].temperature == model[2].temperature
    np.testing.assert_array_less(jnp.abs(decayed[2].weight), 1e-6)


def similar_to_a_jordan_block(n, value, scale):
    """Triangular, and graded over many sizes."""
    J = value * np.eye(n) + np.diag(np.ones(n - 1), 1)
    D = np.diag(float(scale) ** np.arange(n))
    return np.linalg.inv(D) @ J @ D


@pytest.mark.parametrize(
    "W, radius",
    [
        (similar_to_a_jordan_block(6, -3.0, 1), 3.0),
        (similar_to_a_jordan_block(9, 0.7, 10).T, 0.7),
        (1.2 * np.tril(np.ones((8, 8))), 1.2),
        (similar_to_a_jordan_block(7, 0.0, 1), 0.0),
        ([[1.0, 1e20], [0.0, -2.0]], 2.0),
        (1e30 * np.array([[0.0, -2.0], [2.0, 0.0]]), 2e30),
    ],
    ids=("jordan", "graded", "running sums", "nilpotent", "far apart", "huge"),
)
def test_spectral_radius_of_defective_and_non_normal_matrices(W, radius):
    found, gradient = jax.jit(jax.value_and_grad(maps.spectral_radius))(jnp.asarray(W, jnp.float32))
    np.testing.assert_allclose(found, radius, rtol=1e-5)
    assert jnp.all(jnp.isfinite(gradient))


def test_the_gradient_at_one_eigenvalue_is_that_of_the_trace():
    W = jnp.asarray(similar_to_a_jordan_block(8, 5.0, 1), jnp.float32)
    layer = maps.PowerBoundLinear.from_matrix(W)
    penalty, gradient = eqx.filter_value_and_grad(lambda m: m.reg_error())(layer)
    np.testing.assert_allclose(penalty, 4, rtol=1e-5)
    np.testing.assert_allclose(np.diag(gradient.W), 1 / 8, rtol=1e-4)


def test_nothing_is_promised_of_nan():
    layer = maps.PowerBoundLinear.from_matrix(jnp.array([[jnp.nan, 1.0], [0.0, 1.0]]))
    assert jnp.isnan(layer.reg_error()) and jnp.isnan(maps.spectral_radius(layer.W))


@pytest.mark.parametrize("p", (1, 2, math.inf, "fro", "nuc"))
@pytest.mark.parametrize("size", (1e25, 1e-20))
def test_norms_do_not_over_or_underflow(p, size):
    W = ((np.eye(3) + 0.1) * size).astype(np.float32)
    found = maps.BoundedNormLinear.from_matrix(jnp.asarray(W), p=p).norm()
    np.testing.assert_allclose(found, np.linalg.norm(W.astype(np.float64), p), rtol=1e-5)


@pytest.mark.parametrize("p", (1, 1.5, 2, 3, math.inf))
def test_entrywise_norms_have_a_gradient_everywhere(p):
    def norm(W):
        return maps.BoundedNormLinear.from_matrix(W, p=p, entrywise=True).norm()

    for size in (0.0, 1e-20, 1e20):
        W = (np.diag([1.0, 2, 3]) * size).astype(np.float32)
        value, gradient = jax.value_and_grad(norm)(jnp.asarray(W))
        np.testing.assert_allclose(value, np.linalg.norm(W.astype(float).ravel(), p), rtol=1e-5)
        assert jnp.all(jnp.isfinite(gradient))
        # Euler: what grows in proportion is its own slope along itself.
        np.testing.assert_allclose(jnp.sum(gradient * W), value, rtol=1e-5)


def test_eigenvalues_have_a_gradient_and_vectors_fit(getkey, x64):
    W = jr.normal(getkey(), (4, 4))
    layer = maps.PowerBoundLinear.from_matrix(W)
    slope = eqx.filter_grad(lambda m: jnp.sum(jnp.abs(m.eig()) ** 2))(layer).W
    V, h = jr.normal(getkey(), (4, 4)), 1e-6
    both = [np.sum(np.abs(np.linalg.eigvals(W + s * h * V)) ** 2) for s in (1, -1)]
    np.testing.assert_allclose(jnp.sum(slope * V), (both[0] - both[1]) / (2 * h), rtol=1e-6)
    values, vectors = layer.eig(vectors=True)
    np.testing.assert_allclose(W @ vectors, vectors * values, atol=1e-12)


@pytest.mark.parametrize("size", (0.0, 1.0, 1e4, 1e6, 1e10, 1e20))
def test_an_exponential_is_a_rotation_at_any_size(size, getkey):
    layer = maps.ExponentialLinear(5, 5, key=getkey())
    layer = eqx.tree_at(lambda m: m.weight, layer, size * jr.normal(getkey(), (5, 5)))
    assert layer.violation() < 2e-6
    assert jnp.linalg.det(layer.effective_W()) > 0.99
    gradient = eqx.filter_grad(lambda m: m.effective_W()[0, 1])(layer).weight
    assert jnp.all(jnp.isfinite(gradient))


def test_the_exponential_in_two_planes(x64):
    a, b = 30.0, 2000.0
    S = np.zeros((4, 4))
    S[0, 1], S[2, 3] = a, b
    layer = eqx.tree_at(
        lambda m: m.weight, maps.ExponentialLinear(4, 4, key=jr.key(0)), jnp.asarray(S)
    )
    turn = lambda t: np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])  # noqa: E731
    want = np.block([[turn(a), np.zeros((2, 2))], [np.zeros((2, 2)), turn(b)]])
    np.testing.assert_allclose(layer.effective_W(), want, atol=1e-11)
