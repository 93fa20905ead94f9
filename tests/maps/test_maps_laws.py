"""What holds for every map, from one table: a new map is one line in it."""

import dataclasses
import functools
import io
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from conftest import load_golden

import jaxinfo.maps as maps


@dataclasses.dataclass(frozen=True)
class Row:
    """A map, its shape and options, and which of the optional laws apply."""

    name: str
    shape: tuple[int, int] = (4, 4)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    nearest: bool = True  # `from_matrix` exists
    by_construction: bool = True  # the promise holds for all parameters, not by a penalty
    id: str = ""

    def make(self, key, use_bias=True, scale=1):
        cls = getattr(maps, self.name)
        if self.name == "TrivialNullSpaceLinear":
            use_bias = False
        shape = tuple(scale * size for size in self.shape)
        return cls(*shape, use_bias, key=key, **self.options)


TABLE = [
    Row("Linear", (4, 6)),
    Row("IdentityInitLinear", (6, 4)),
    Row("IdentityLinear", (4, 6)),
    Row("L0Linear", (4, 6)),
    Row("NonNegativeLinear", (6, 4)),
    Row("SplitLinear", (4, 6)),
    Row("StableSplitLinear", (6, 4)),
    Row("LassoLinear", (4, 6), {"gamma": 0.3}),
    Row("LassoLinearRELU", (6, 4)),
    Row("RightStochasticLinear", (4, 6)),
    Row("LeftStochasticLinear", (4, 6)),
    Row("DoublyStochasticLinear"),
    Row("PerronFrobeniusLinear", (4, 6), {"sigma_min": 0.2, "sigma_max": 0.7}),
    Row("SymmetricLinear"),
    Row("SkewSymmetricLinear"),
    Row("DampedSkewSymmetricLinear"),
    Row("PSDLinear"),
    Row("OrthogonalLinear"),
    Row("CayleyLinear"),
    Row("ExponentialLinear"),
    Row("StiefelLinear", (4, 6)),
    Row("StiefelLinear", (6, 4), id="tall"),
    Row("SchurDecompositionLinear"),
    Row("SpectralLinear", (4, 6)),
    Row("SpectralLinear", (6, 4), {"n_U_reflectors": 5}, id="tall"),
    Row("SymmetricSpectralLinear"),
    Row("SVDLinear", (6, 4), by_construction=False),
    Row("SVDLinearLearnBounds", (4, 6), by_construction=False),
    Row("SymmetricSVDLinear", by_construction=False),
    Row("GershgorinLinear"),
    Row("GershgorinLinear", options={"symmetric": False}, id="rows"),
    Row("GershgorinLinear", options={"real": False}, id="disc"),
    Row("BoundedNormLinear", (4, 6), {"p": "fro"}, by_construction=False),
    Row("PowerBoundLinear", by_construction=False),
    Row("TrivialNullSpaceLinear", (4, 6), {"rank": 3}),
    Row("DiagonallyDominantLinear"),
    Row("SymplecticLinear"),
    Row("ShearSymplecticLinear"),
    Row("SkewBlockLinear"),
    Row("HamiltonianLinear"),
    Row("ButterflyLinear", (5, 11), nearest=False),
    Row("ButterflyLinear", (9, 2), {"tied_weight": False}, nearest=False, id="untied"),
    Row("ButterflyLinear", (4, 4), {"complex": True}, nearest=False, id="complex"),
    Row("LowRankLinear", (4, 6), {"rank": 2}),
    Row("KroneckerLinear", (4, 6)),
    Row("MonarchLinear", (6, 4)),
    Row("ToeplitzLinear", (4, 6)),
    Row("CirculantLinear"),
]
# The golden cases of these run without `jit`, an operation at a time.
EAGER_ELSEWHERE = {case["class"] for case in load_golden("slim")[0] if "class" in case}
everywhere = pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.name}{row.id}")


def test_the_table_and_the_registry_hold_every_class():
    public = {
        cls
        for cls in vars(maps).values()
        if isinstance(cls, type) and issubclass(cls, maps.AbstractLinearMap)
    } - {maps.AbstractLinearMap, maps.AbstractSquareMap}
    assert {getattr(maps, row.name) for row in TABLE} == public == set(maps.maps.values())
    assert maps.maps["skew_symetric"] is maps.maps["skew_symmetric"]
    square = {cls for cls in public if issubclass(cls, maps.AbstractSquareMap)}
    assert square == maps.square_maps


def normal(rng, like):
    """Random numbers of this shape and type."""
    real, imaginary = rng.normal(size=(2, *like.shape))
    return (real + 1j * imaginary if np.iscomplexobj(like) else real).astype(like.dtype)


@everywhere
def test_call_is_the_product_with_the_matrix(row, getkey):
    """One example, batches, stacks of maps; compiled and not. And the promise, near and far out."""
    keys = jr.split(getkey(), 2)
    m, second = row.make(keys[0]), row.make(keys[1])
    x = jr.normal(getkey(), (2, 3, m.in_features))

    @eqx.filter_jit
    def everything(m, second, x):
        bias = 0 if m.bias is None else m.bias
        stack = jax.tree.map(lambda a, b: jnp.stack([a, b]), m, second)
        stacked = eqx.filter_vmap(lambda m, x: m(x))(stack, x)
        far = jax.tree.map(lambda a: 100 * a, m)
        broken = jnp.stack([m.violation(), far.violation()])
        return m(x), x @ m.effective_W() + bias, m(x[0, 0]), stacked, second(x[1]), broken

    y, product, no_axis, stacked, other, broken = everything(m, second, x)
    np.testing.assert_allclose(y, product, atol=3e-6)
    np.testing.assert_allclose(no_axis, y[0, 0], atol=3e-6)
    np.testing.assert_allclose(stacked[0], y[0], atol=3e-6)
    np.testing.assert_allclose(stacked[1], other, atol=3e-6)
    if row.name not in EAGER_ELSEWHERE:
        np.testing.assert_allclose(m(x[0]), y[0], atol=3e-6)
    if row.by_construction:
        assert np.all(broken < 2e-6)
    elif row.name not in ("BoundedNormLinear", "PowerBoundLinear"):
        assert broken[0] < 2e-6
    assert isinstance(m.equation, str) and m.equation
    with pytest.raises(ValueError, match="maps arrays of shape"):
        m(x[..., :-1])


@everywhere
def test_gradient_and_the_promise_after_training(row, getkey, x64):
    """Against finite differences, finite where all parameters are 0, and 100 steps of an optimiser."""
    m, rng = row.make(getkey()), np.random.default_rng(0)
    arrays, static = eqx.partition(m, eqx.is_inexact_array)
    # What is done to parameters between the steps is left to NumPy, which compiles nothing.
    arrays = jax.tree.map(np.asarray, arrays)
    direction = jax.tree.map(lambda a: normal(rng, a), arrays)
    x = jr.normal(getkey(), (3, m.in_features))
    optimiser = optax.adamw(0.05, weight_decay=0.1)

    def loss(arrays):
        m = eqx.combine(arrays, static)
        assert m.reg_error().shape == m.violation().shape == ()
        return jnp.sum(jnp.sin(jnp.abs(m(x)) ** 2)) + m.reg_error()

    @jax.jit
    def step(arrays, state):
        value, gradient = jax.value_and_grad(loss)(arrays)
        downhill = jax.tree.map(jnp.conj, gradient)
        updates, state = optimiser.update(downhill, state, arrays)
        return value, gradient, optax.apply_updates(arrays, updates), state

    def moved(t):
        return jax.tree.map(lambda a, d: a + t * d, arrays, direction)

    # A little off the start, where a soft map has a kink by design.
    h, state = 1e-6, optimiser.init(arrays)
    above, below = (step(moved(0.01 + t), state)[0] for t in (h, -h))
    gradient = step(moved(0.01), state)[1]
    slope = sum(
        np.sum(np.asarray(g) * d).real
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose(slope, (above - below) / (2 * h), rtol=1e-5, atol=1e-7)
    if row.name != "SymplecticLinear":  # which inverts its parameter
        _, gradient, _, _ = step(jax.tree.map(np.zeros_like, arrays), state)
        assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))

    trained = arrays
    for _ in range(100):
        _, _, trained, state = step(trained, state)
    if row.by_construction:
        violation = jax.jit(lambda arrays: eqx.combine(arrays, static).violation())
        assert violation(trained) < 1e-12
        far = jax.tree.map(lambda a: 100 * a, arrays)
        assert violation(far) < 1e-12
        distances = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), arrays, trained)
        assert all(distance > 0 for distance in jax.tree.leaves(distances))


@everywhere
def test_nearest_of_a_member_is_the_member(row, getkey):
    cls, m = getattr(maps, row.name), row.make(getkey())
    # Positive for the sake of Sinkhorn's iteration.
    other = jnp.abs(jr.normal(getkey(), (m.in_features, m.out_features)))
    if not row.nearest:
        with pytest.raises(NotImplementedError, match="not known"):
            cls.from_matrix(other, **row.options)
        return

    @eqx.filter_jit
    def near(m, other):
        near = functools.partial(cls.from_matrix, **row.options)
        # Of a member and of another matrix; then of what is nearest to that one.
        W = m.effective_W()
        first = jax.vmap(lambda W: near(W).effective_W())(jnp.stack([W, other.astype(W.dtype)]))
        again = near(first[1])
        return W, *first, again.effective_W(), again.violation()

    W, same, nearest, again, broken = near(m, other)
    np.testing.assert_allclose(same, W, atol=5e-6)
    np.testing.assert_allclose(again, nearest, atol=5e-6)
    if row.by_construction:
        assert broken < 5e-6


@everywhere
def test_carried_over_by_name(row, getkey):
    m = row.make(getkey())
    named = {
        jax.tree_util.keystr(path, simple=True, separator="."): array
        for path, array in jax.tree_util.tree_leaves_with_path(m)
    }
    load = functools.partial(type(m).from_parameters, **row.options)
    sizes = (m.in_features, m.out_features, m.use_bias)
    if row.name in ("GershgorinLinear", "DampedSkewSymmetricLinear"):  # see `_source_options`
        option = "symmetric" if row.name == "GershgorinLinear" else "bounded"
        load = functools.partial(load, **{option: getattr(m, option)})
    assert eqx.tree_equal(load(named, *sizes), m)
    with pytest.raises(KeyError, match="surprise"):
        load({**named, "surprise": jnp.ones(2)}, *sizes)
    if named:
        name, array = named.popitem()
        with pytest.raises(KeyError, match="needs a parameter"):
            load(named, *sizes)
        with pytest.raises(ValueError, match="must have shape"):
            load({**named, name: jnp.ones((3, *array.shape))}, *sizes)


@everywhere
def test_half_precision_files_and_platforms(row, getkey):
    m = row.make(getkey())
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, m)
    file.seek(0)
    assert eqx.tree_equal(eqx.tree_deserialise_leaves(file, row.make(getkey())), m)

    # There is no complex number of half precision.
    dtype = jnp.float32 if row.options.get("complex") else jnp.bfloat16
    half = m if dtype == jnp.float32 else jax.tree.map(lambda a: a.astype(dtype), m)
    arrays, static = eqx.partition(half, eqx.is_inexact_array)
    x = jr.normal(getkey(), (3, m.in_features))

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient_of_loss(arrays, x):
        m = eqx.combine(arrays, static)
        y = m(x)
        full = jax.tree.map(lambda a: a.astype(jnp.promote_types(a.dtype, jnp.float32)), m)
        return jnp.sum(jnp.abs(y) ** 2) + m.reg_error(), (y, full(x.astype(jnp.float32)))

    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(gradient_of_loss, platforms=platforms)(arrays, x.astype(dtype))
    gradient, (y, full) = exported.call(arrays, x.astype(dtype))
    if dtype == jnp.bfloat16:
        assert y.dtype == dtype
        size = 1 + np.max(np.abs(full))
        np.testing.assert_allclose(np.asarray(y, np.float32), full, atol=0.1 * size)
    assert all(np.all(np.isfinite(np.asarray(g, complex))) for g in jax.tree.leaves(gradient))
