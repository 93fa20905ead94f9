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
    Row("StableSplitLinear", (6, 4), nearest=False),
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
    Row("CayleyLinear", nearest=False),
    Row("ExponentialLinear", nearest=False),
    Row("StiefelLinear", (4, 6)),
    Row("StiefelLinear", (6, 4), id="tall"),
    Row("SchurDecompositionLinear", nearest=False),
    Row("SpectralLinear", (4, 6)),
    Row("SpectralLinear", (6, 4), {"n_U_reflectors": 5}, id="tall"),
    Row("SymmetricSpectralLinear"),
    Row("SVDLinear", (6, 4), by_construction=False),
    Row("SVDLinearLearnBounds", (4, 6), by_construction=False),
    Row("SymmetricSVDLinear", by_construction=False),
    Row("GershgorinLinear", nearest=False),
    Row("GershgorinLinear", options={"symmetric": False}, nearest=False, id="rows"),
    Row("GershgorinLinear", options={"real": False}, nearest=False, id="disc"),
    Row("BoundedNormLinear", (4, 6), {"p": "fro"}, by_construction=False),
    Row("PowerBoundLinear", by_construction=False),
    Row("TrivialNullSpaceLinear", (4, 6), {"rank": 3}),
    Row("DiagonallyDominantLinear"),
    Row("SymplecticLinear", nearest=False),
    Row("ShearSymplecticLinear", nearest=False),
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


@everywhere
def test_call_is_the_product_with_the_matrix(row, getkey):
    keys = jr.split(getkey(), 2)
    m, second = row.make(keys[0]), row.make(keys[1])
    stack = jax.tree.map(lambda a, b: jnp.stack([a, b]), m, second)
    x = jr.normal(getkey(), (2, 3, m.in_features))

    @eqx.filter_jit
    def everything(m, stack, x):
        bias = 0 if m.bias is None else m.bias
        stacked = eqx.filter_vmap(lambda m, x: m(x))(stack, x)
        product = x @ m.effective_W() + bias
        return m(x), product, m(x[0]), m(x[0, 0]), stacked

    y, product, one_axis, no_axis, stacked = everything(m, stack, x)
    np.testing.assert_allclose(y, product, atol=3e-6)
    np.testing.assert_allclose(one_axis, y[0], atol=3e-6)
    np.testing.assert_allclose(no_axis, y[0, 0], atol=3e-6)
    np.testing.assert_allclose(stacked[0], y[0], atol=3e-6)
    np.testing.assert_allclose(m(x), y, atol=3e-6)  # eager
    np.testing.assert_allclose(stacked[1], second(x[1]), atol=3e-6)
    assert isinstance(m.equation, str) and m.equation
    with pytest.raises(ValueError, match="maps arrays of shape"):
        m(x[..., :-1])


@everywhere
def test_gradient(row, getkey, x64):
    """Against finite differences in some direction, and finite where all parameters are 0."""
    m = row.make(getkey())
    arrays, static = eqx.partition(m, eqx.is_inexact_array)
    direction = jax.tree.map(lambda a: jr.normal(getkey(), a.shape, a.dtype), arrays)
    x = jr.normal(getkey(), (3, m.in_features))

    def loss(arrays):
        moved = eqx.combine(arrays, static)
        assert moved.reg_error().shape == moved.violation().shape == ()
        return jnp.sum(jnp.sin(jnp.abs(moved(x)) ** 2)) + moved.reg_error()

    @jax.jit
    def values_and_slope(arrays, h):
        # A little off the start, where a soft map has a kink by design.
        def at(t):
            return loss(jax.tree.map(lambda a, d: a + (0.01 + t) * d, arrays, direction))

        return jax.lax.map(at, jnp.array([h, -h])), jax.grad(at)(0.0), jax.grad(loss)(arrays)

    h = 1e-6
    (above, below), slope, _ = values_and_slope(arrays, h)
    np.testing.assert_allclose(slope, (above - below) / (2 * h), rtol=1e-5, atol=1e-7)
    if row.name != "SymplecticLinear":  # which inverts its parameter
        _, _, gradient = values_and_slope(jax.tree.map(jnp.zeros_like, arrays), h)
        assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient))


@everywhere
def test_the_promise_at_the_start_far_out_and_after_training(row, getkey):
    m = row.make(getkey())
    x = jr.normal(getkey(), (8, m.in_features))
    y = jr.normal(getkey(), (8, m.out_features))
    optimiser = optax.adamw(0.05, weight_decay=0.1)
    arrays, static = eqx.partition(m, eqx.is_inexact_array)

    @jax.jit
    def train(arrays):
        def loss(arrays):
            return jnp.mean(jnp.abs(eqx.combine(arrays, static)(x) - y) ** 2)

        def step(carry, _):
            arrays, state = carry
            updates, state = optimiser.update(jax.grad(loss)(arrays), state, arrays)
            return (optax.apply_updates(arrays, updates), state), None

        (trained, _), _ = jax.lax.scan(step, (arrays, optimiser.init(arrays)), length=100)
        far = jax.tree.map(lambda a: 100 * a, arrays)
        moments = [eqx.combine(each, static) for each in (arrays, far, trained)]
        return trained, jnp.stack([m.violation() for m in moments])

    trained, violations = train(arrays)
    if row.by_construction:
        assert jnp.all(violations < 2e-6)
        moved = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), arrays, trained)
        assert all(distance > 0 for distance in jax.tree.leaves(moved))
    elif row.name not in ("BoundedNormLinear", "PowerBoundLinear"):
        assert violations[0] < 2e-6


@everywhere
def test_nearest_of_a_member_is_the_member(row, getkey):
    cls, m = getattr(maps, row.name), row.make(getkey())
    W = m.effective_W()
    if not row.nearest:
        with pytest.raises(NotImplementedError, match="not known"):
            cls.from_matrix(W, **row.options)
        return
    near = eqx.filter_jit(functools.partial(cls.from_matrix, **row.options))
    np.testing.assert_allclose(near(W).effective_W(), W, atol=5e-6)
    other = near(jnp.abs(jr.normal(getkey(), W.shape)))  # Sinkhorn needs positive entries
    if row.by_construction:
        assert other.violation() < 5e-6
    again = near(other.effective_W())
    np.testing.assert_allclose(again.effective_W(), other.effective_W(), atol=5e-6)


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
def test_half_precision_and_files(row, getkey):
    m = row.make(getkey())
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, m)
    file.seek(0)
    assert eqx.tree_equal(eqx.tree_deserialise_leaves(file, row.make(getkey())), m)
    if row.options.get("complex"):
        return  # there is no complex number of half precision
    x = jr.normal(getkey(), (3, m.in_features))
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), m)

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def loss(half, x):
        y = half(x)
        return jnp.sum(y**2) + half.reg_error(), y

    (_, y), gradient = loss(half, x.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    full = eqx.filter_jit(m)(x)
    size = 1 + float(jnp.max(jnp.abs(full)))
    np.testing.assert_allclose(y.astype(jnp.float32), full, atol=0.15 * size)
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient))


@everywhere
def test_lowers_for_all_platforms(row, getkey):
    m = row.make(getkey())
    arrays, static = eqx.partition(m, eqx.is_inexact_array)

    def loss(arrays, x):
        m = eqx.combine(arrays, static)
        return jnp.sum(jnp.abs(m(x)) ** 2) + m.reg_error()

    x = jnp.ones((2, m.in_features))
    platforms = ("cpu", "cuda", "tpu")
    jax.export.export(jax.jit(jax.grad(loss)), platforms=platforms)(arrays, x)
