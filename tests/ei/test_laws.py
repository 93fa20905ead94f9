"""Laws of sampled effective information."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import jaxinfo
from jaxinfo.ei import (
    Exact,
    Sampling,
    Soft,
    ei,
    ei_parts,
    ei_parts_matrix,
    eis_between_groups,
    measure,
    sensitivity,
    sensitivity_matrix,
    topology_of,
    vector_and_pairwise_ei,
)
from jaxinfo.info import Binning, MillerMadow, PlugIn
from jaxinfo.network import Channel

KEY = jr.key(11)
OPTIONS = {"key": KEY, "samples": 4000, "in_bins": 4, "out_bins": 5}


def dense(seed, n_in=3, n_out=2, scale=1.0):
    weight = np.random.default_rng(seed).normal(0, scale, (n_in, n_out)).astype(np.float32)
    return Channel.from_weight(weight, None, "sigmoid", in_range=(-1, 1))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), scale=st.floats(0.01, 10))
def test_bounds_and_permutations(seed, scale):
    """0 <= I <= min(H), and relabelled neurons relabel the matrix."""
    channel = dense(seed, scale=scale)
    matrix = np.asarray(ei_parts_matrix(channel, None, **OPTIONS))
    assert np.all(matrix >= 0) and np.all(matrix <= np.log2(4) + 1e-6)
    order = [1, 0]
    swapped = Channel.from_weight(
        channel.weight[:, jnp.array(order)], None, "sigmoid", in_range=(-1, 1)
    )
    assert np.allclose(ei_parts_matrix(swapped, None, **OPTIONS), matrix[:, order], atol=1e-6)
    value = float(ei(channel, None, **OPTIONS))
    assert 0 <= value <= min(3 * np.log2(4), 2 * np.log2(5), np.log2(4000)) + 1e-4


@pytest.mark.parametrize("bins", [2, 8, 64])
def test_a_wire_passes_every_bit(bins):
    wire = Channel.from_weight(jnp.eye(3), in_range=(0, 1), out_range=(0, 1))
    samples = 300 * bins
    matrix = ei_parts_matrix(wire, None, key=KEY, samples=samples, in_bins=bins, out_bins=bins)
    # The bins are filled by chance: their entropy is that of a multinomial sample.
    expected = np.log2(bins) - (bins - 1) / (2 * samples * np.log(2))
    assert np.allclose(np.diag(matrix), expected, atol=0.02)
    bias = (bins - 1) ** 2 / (2 * samples * np.log(2))
    assert np.all(np.asarray(matrix)[~np.eye(3, dtype=bool)] < 2 * bias + 0.01)


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh", None])
def test_zero_weights_say_nothing(activation):
    silent = Channel.from_weight(jnp.zeros((3, 2)), jnp.array([0.1, -0.2]), activation)
    assert ei_parts(silent, None, **OPTIONS) < 1e-6
    assert sensitivity(silent, None, **OPTIONS) < 1e-6
    assert ei(silent, None, **OPTIONS) < 1e-6


@pytest.mark.parametrize("batch_size", [1000, 2500, 4000, 10**6])
def test_the_batch_size_never_changes_the_answer(batch_size):
    channel = dense(3)
    for function in (ei, ei_parts, sensitivity):
        assert function(channel, None, **OPTIONS) == function(
            channel, None, **OPTIONS, batch_size=batch_size
        )


def test_a_part_of_a_block_counts_as_what_it_is():
    channel = dense(4)
    for samples in (999, 1001):
        result = Sampling(samples=samples).parts(_setting(channel), KEY, None)
        assert int(result.samples) == samples
    options = {**OPTIONS, "samples": 1}
    assert ei_parts(channel, None, **options) < 1e-6  # one sample has no entropy


@pytest.mark.parametrize("tile_cells", [20, 45, 90])
def test_tiles_of_pairs_change_nothing(tile_cells, monkeypatch):
    from jaxinfo.ei import _tiles

    channel = dense(5, n_in=4, n_out=3)
    options = {**OPTIONS, "estimator": PlugIn()}
    whole = ei_parts_matrix(channel, None, **options)
    monkeypatch.setattr(_tiles, "_TILE_CELLS", tile_cells)
    eqx.clear_caches()
    jax.clear_caches()
    # The same counts; sums over tables of another shape may round their last digit otherwise.
    assert jnp.allclose(ei_parts_matrix(channel, None, **options), whole, atol=1e-6)


def test_jit_equals_eager_and_vmap_equals_a_loop():
    weights = jr.normal(jr.key(0), (3, 3, 2))

    def measured(weight):
        return ei_parts_matrix(Channel.from_weight(weight, None, "tanh"), None, **OPTIONS)

    one_by_one = jnp.stack([measured(w) for w in weights])
    assert jnp.allclose(jnp.stack([jax.jit(measured)(w) for w in weights]), one_by_one, atol=1e-6)
    assert jnp.allclose(jax.jit(jax.vmap(measured))(weights), one_by_one, atol=1e-6)


def test_one_compilation_for_all_keys_and_weights(monkeypatch):
    from jaxinfo.ei import _intervention

    traces = []
    original = _intervention.Setting.outputs

    def counted(self, x):
        traces.append(None)
        return original(self, x)

    monkeypatch.setattr(_intervention.Setting, "outputs", counted)
    # Bins that no other test has, so that nothing is compiled yet.
    options = {"samples": 3000, "in_bins": 3, "out_bins": 7, "out_range": (-90, 90)}
    for function in (ei, ei_parts, sensitivity):
        counts = []
        for i in range(3):
            model = eqx.nn.Linear(3, 2, key=jr.key(i))
            topology = topology_of(model, jnp.zeros(3))
            function(topology.names[0], topology, key=jr.key(i), **options)
            counts.append(len(traces))
        assert 0 < counts[0] == counts[1] == counts[2], function.__name__


def test_layers_of_one_shape_share_their_programs(monkeypatch):
    """Names and places are no part of what is compiled: four layers, two shapes, two programs."""
    from jaxinfo.ei import _intervention

    traces = []
    original = _intervention.Setting.outputs
    monkeypatch.setattr(
        _intervention.Setting,
        "outputs",
        lambda self, x: (traces.append(None), original(self, x))[1],
    )
    model = eqx.nn.MLP(3, 4, 4, 3, jnp.tanh, jnp.tanh, key=jr.key(0))
    topology = topology_of(model, jnp.zeros(3))
    counts = []
    for name in topology.names:
        ei_parts(
            name, topology, key=jr.key(0), samples=2000, in_bins=3, out_bins=9, in_range=(-1, 1)
        )
        counts.append(len(traces))
    assert len(counts) == 4 and 0 < counts[0] < counts[1] == counts[2] == counts[3]


def test_precision(x64):
    weight = np.random.default_rng(0).normal(0, 1, (3, 2))
    options = {**OPTIONS, "samples": 20_000}
    double, single = (
        ei_parts(Channel.from_weight(weight.astype(dtype), None, "sigmoid"), None, **options)
        for dtype in (np.float64, np.float32)
    )
    assert double.dtype == jnp.float64
    assert (
        jnp.abs(double - single) < 1e-3
    )  # the same samples, but for those within rounding of an edge


def test_groups_vector_and_pairwise_agree():
    channel = dense(6)
    groups = [((0, 1, 2), (0, 1)), ((0,), (1,)), ([2], [0])]
    by_group = eis_between_groups(channel, None, groups, **OPTIONS)
    matrix = ei_parts_matrix(channel, None, **OPTIONS, estimator=PlugIn())
    vector, pairwise = vector_and_pairwise_ei(channel, None, **OPTIONS, estimator=PlugIn())
    assert jnp.allclose(by_group[0], ei(channel, None, **OPTIONS), atol=1e-5)
    assert jnp.allclose(by_group[1], matrix[0, 1], atol=1e-5)
    assert jnp.allclose(by_group[2], matrix[2, 0], atol=1e-5)
    assert vector == ei(channel, None, **OPTIONS)
    assert jnp.allclose(pairwise, jnp.sum(matrix), atol=1e-6)
    assert jnp.allclose(
        sensitivity(channel, None, **OPTIONS), jnp.sum(sensitivity_matrix(channel, None, **OPTIONS))
    )


def test_groups_lose_only_samples_of_their_own_outputs():
    """Output 1 is always outside: a group of output 0 alone does not see that."""
    channel = Channel.from_weight(
        jnp.eye(2), jnp.array([0.0, 5.0]), in_range=(0, 1), out_range=(0, 1)
    )
    with pytest.warns(UserWarning, match="outside the output range"):
        values = eis_between_groups(
            channel, None, [((0,), (0,)), ((1,), (1,))], **{**OPTIONS, "out_bins": 4}
        )
    assert jnp.allclose(values, jnp.array([2.0, 0.0]), atol=1e-2)


def test_more_samples_lower_the_bias():
    channel, options = dense(7), {"key": KEY, "in_bins": 16, "out_bins": 16}
    values = [
        float(ei_parts(channel, None, samples=n, estimator=PlugIn(), **options))
        for n in (2000, 20_000)
    ]
    extrapolated = ei_parts(channel, None, samples=20_000, extrapolate=True, **options)
    reference = ei_parts(channel, None, samples=400_000, **options)
    errors = [abs(v - reference) for v in (*values, extrapolated)]
    assert errors[1] < errors[0] / 4
    assert errors[2] < errors[1]


def test_threshold_settles_or_says_so():
    channel = dense(8)
    rough = ei_parts(channel, None, key=KEY, threshold=0.5, in_bins=8, out_bins=8)
    fine = ei_parts(channel, None, key=KEY, threshold=0.01, in_bins=8, out_bins=8)
    reference = ei_parts(channel, None, key=KEY, samples=640_000, in_bins=8, out_bins=8)
    assert abs(fine - reference) < 0.02 * reference
    assert abs(fine - reference) <= abs(rough - reference)
    vector = ei(channel, None, key=KEY, in_bins=2, out_bins=2)
    assert abs(vector - ei(channel, None, key=KEY, samples=160_000, in_bins=2, out_bins=2)) < 0.01
    with pytest.warns(UserWarning, match="max_samples"):
        ei_parts(channel, None, key=KEY, method=Sampling(threshold=1e-9, max_samples=20_000))


@pytest.mark.parametrize("function", [ei, ei_parts, sensitivity])
@pytest.mark.parametrize("transform", [jax.grad, jax.jacfwd])
def test_hard_bins_refuse_to_be_differentiated(function, transform):
    def loss(weight):
        return function(Channel.from_weight(weight, None, "sigmoid"), None, **OPTIONS)

    with pytest.raises(TypeError, match=r"Exact\(\).*Soft\(\)"):
        transform(loss)(jnp.ones((2, 2)))


def test_what_is_outside_is_counted_and_reported():
    channel = Channel.from_weight(jnp.eye(1) * 2, in_range=(0, 1), out_range=(0, 1))
    with pytest.warns(UserWarning, match="(49|50).*outside the output range"):
        value = ei_parts(channel, None, key=KEY, samples=20_000, in_bins=8, out_bins=8)
    assert abs(value - 2) < 0.01  # of the eight input bins, four reach the range


@pytest.mark.parametrize("method", [Sampling(samples=40_000), Exact(), Soft(20_000, 1e-3)])
def test_what_is_outside_can_go_into_the_edge_bin(method):
    """Half of the inputs reach past the range: all of these are in the last bin, 9/16 with bin 7."""
    double = Channel.from_weight(jnp.eye(1) * 2, in_range=(0, 1), out_range=(0, 1))
    bits = ei_parts(
        double, None, key=KEY, in_bins=8, out_bins=8, out_of_range="clip", method=method
    )
    entropy = 7 / 16 * 4 + 9 / 16 * np.log2(16 / 9)
    # Of samples: four standard errors, from the scatter of -log2 p, 1.6 bits.
    tolerance = 1e-5 if method == Exact() else 4 * 1.6 / np.sqrt(method.samples)
    assert jnp.abs(bits - (entropy - 4 / 8)) < tolerance
    alone = sensitivity(
        double, None, key=KEY, in_bins=8, out_bins=8, out_of_range="clip", method=method
    )
    assert jnp.abs(alone - (entropy - 4 / 8)) < tolerance


def test_dynamic_range_is_that_of_all_samples():
    channel = Channel.from_weight(jnp.array([[3.0, -0.5]]), jnp.array([1.0, 0.0]), in_range=(0, 1))
    matrix = ei_parts_matrix(
        channel, None, key=KEY, samples=30_000, in_bins=8, out_bins=8, out_range="dynamic"
    )
    assert jnp.allclose(matrix, 3.0, atol=0.01)
    fine = ei_parts_matrix(
        channel, None, key=KEY, samples=30_000, in_bins=8, out_range="dynamic", out_bins="dynamic"
    )
    assert jnp.allclose(fine, jnp.array([[3.0, 2.0]]), atol=0.02)


def _setting(channel):
    from jaxinfo.ei._intervention import Setting

    return Setting(channel, Binning(4, -1.0, 1.0), Binning(4, 0.0, 1.0))


def _topology():
    return topology_of(eqx.nn.MLP(3, 2, 4, 1, jax.nn.sigmoid, key=jr.key(0)), jnp.zeros(3))


def test_measure_gives_values_with_their_errors():
    topology = _topology()
    options = {"in_range": (-1, 1), "in_bins": 8, "out_bins": 8, "out_range": "dynamic"}
    found = measure(
        topology, layers=["layers.0"], key=KEY, method=Sampling(samples=20_000), **options
    )
    assert set(found["layers.0"]) == {"ei", "ei_parts", "sensitivity"}
    for layer, quantities in found.items():
        parts = quantities["ei_parts"]
        again = ei_parts(layer, topology, key=KEY, samples=20_000, **options)
        assert jnp.allclose(parts.value, again, atol=1e-5)
        others = [
            measure(
                topology,
                layers=[layer],
                quantities=["ei_parts"],
                key=jr.key(i),
                method=Sampling(samples=20_000),
                **options,
            )[layer]["ei_parts"]
            for i in range(8)
        ]
        scatter = jnp.std(jnp.stack([o.value for o in others]), ddof=1)
        assert 0.3 < parts.standard_error / scatter < 3
        assert "bits" in repr(parts)


BAD = [
    ({"in_range": (1, 0)}, "`in_range` must be finite with lower < upper"),
    ({"in_range": (0, 0)}, "lower < upper"),
    ({"in_range": (0, np.inf)}, "finite"),
    ({"in_range": (0,)}, "pair"),
    ({"in_range": "dynamic"}, "`in_range` must be a pair"),
    ({"out_range": (1, -1)}, "`out_range` must be finite with lower < upper"),
    ({"out_range": "auto"}, "'dynamic'"),
    ({"in_bins": 1}, "at least 2"),
    ({"out_bins": 0}, "at least 2"),
    ({"out_bins": "many"}, "'dynamic'"),
    ({"out_of_range": "wrap"}, "'drop' or 'clip'"),
    ({"samples": 0}, "`samples` must be positive"),
    ({"samples": -5}, "`samples` must be positive"),
    ({"samples": 2**31}, "31 bits"),
    ({"batch_size": 0}, "`batch_size` must be positive"),
    ({"key": None}, "`key="),
    ({"method": Sampling(samples=10)}, "describe a `Sampling`"),
]


@pytest.mark.parametrize("function", [ei, ei_parts, sensitivity])
@pytest.mark.parametrize(("change", "message"), BAD, ids=[str(list(c.items())[0]) for c, _ in BAD])
def test_bad_input_says_what_was_expected(function, change, message):
    # TypeError where annotations are checked at run time, as they are in these tests.
    with pytest.raises((ValueError, TypeError)) as error:
        function(dense(0), None, **{**OPTIONS, **change})
    if isinstance(error.value, ValueError):
        assert message in str(error.value)
    else:
        assert list(change)[0] in str(error.value)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_weights_that_are_no_numbers(bad):
    channel = Channel.from_weight(jnp.array([[1.0, bad]]), None, "sigmoid")
    with pytest.raises(ValueError, match="NaN or infinity"):
        ei_parts(channel, None, **OPTIONS)


def test_bad_layers():
    with pytest.raises(ValueError, match="`topology` may be None only when"):
        ei_parts("layers.0", None, **OPTIONS)
    with pytest.raises(ValueError, match="`in_layer` needs a layer of a topology"):
        ei_parts(dense(0), None, in_layer="layers.0", **OPTIONS)
    with pytest.raises(KeyError, match=r"'layers.0', 'layers.1'"):
        ei_parts("layers.9", _topology(), **OPTIONS)
    with pytest.raises(KeyError, match="no activation 'sigmod'.*'sigmoid'"):
        ei_parts("layers.0", _topology(), **OPTIONS, activation="sigmod")
    with pytest.raises(ValueError, match="`quantities` must be one of"):
        measure(_topology(), quantities=["information"], key=KEY)


@pytest.mark.parametrize(
    "group", [((), (0,)), ((0,), (2,)), ((0, 0), (1,)), ((-1,), (0,)), ((0,),)]
)
def test_bad_groups(group):
    with pytest.raises(ValueError, match="group must"):
        eis_between_groups(dense(0), None, [group], **OPTIONS)


def test_extrapolation_is_refused_for_vectors():
    with pytest.raises(ValueError, match="1/N"):
        ei(dense(0), None, key=KEY, method=Sampling(samples=100, extrapolate=True))


def test_a_silenced_warning_is_still_an_estimate():
    """`measure` returns the fraction outside whether or not anyone reads warnings."""
    model = eqx.nn.Sequential([eqx.nn.Linear(2, 1, key=jr.key(0))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = measure(
            jaxinfo.topology_of(model, jnp.zeros(2)),
            quantities=["ei_parts"],
            key=KEY,
            method=Sampling(samples=2000),
            out_range=(0.0, 0.1),
        )
    assert found["layers.0"]["ei_parts"].outside > 0.5


def test_corrections_are_refused_for_vectors():
    assert ei(dense(0), None, **OPTIONS, estimator=PlugIn()) == ei(dense(0), None, **OPTIONS)
    with pytest.raises(ValueError, match="must be `PlugIn"):
        ei(dense(0), None, **OPTIONS, estimator=MillerMadow())
