"""The forms in which a batch is convolved on a CPU: the same numbers, and only where they pay."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxinfo.network import from_torch, topology_of
from jaxinfo.network._torch._operators import _cpu_convolution as cpu

torch = pytest.importorskip("torch", reason="imports models of torch")

from torch import nn  # noqa: E402

FORMS = (
    cpu._kernels_times_patches,
    cpu._patches_times_kernels,
    cpu._side_by_side,
)

# Shape of the input, of the kernel, strides, padding, dilation.
CASES = {
    "same size": ((3, 4, 5, 6), (7, 4, 3, 3), (1, 1), (1, 1), (1, 1)),
    "one tap, no padding": ((2, 3, 4, 4), (5, 3, 1, 1), (1, 1), (0, 0), (1, 1)),
    "one tap, more padding than taps": ((5, 3, 9, 2), (1, 3, 1, 1), (3, 1), (0, 2), (1, 2)),
    "kernel larger than the image": ((2, 5, 2, 2), (3, 5, 3, 3), (1, 1), (1, 1), (1, 1)),
    "strides that leave columns over": ((2, 3, 7, 8), (4, 3, 2, 2), (2, 3), (0, 1), (1, 1)),
    "dilated, padded beyond the kernel": ((3, 2, 6, 7), (2, 2, 2, 3), (1, 2), (3, 5), (2, 2)),
    "bands of rows, some left over": ((1, 2, 19, 4), (3, 2, 3, 2), (2, 1), (1, 0), (1, 1)),
    "one column": ((4, 2, 3, 1), (6, 2, 2, 1), (1, 1), (1, 0), (1, 1)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_form_is_the_convolution(case):
    shape, kernel, strides, padding, dilation = case
    padding = [(p, p) for p in padding]
    generator = np.random.default_rng(0)
    x, weight = (jnp.asarray(generator.normal(size=s), jnp.float32) for s in (shape, kernel))

    def plain(x, weight):
        return lax.conv_general_dilated(x, weight, strides, padding, rhs_dilation=dilation)

    out = jax.eval_shape(plain, x, weight).shape
    slope = jnp.asarray(generator.normal(size=out), jnp.float32)

    @jax.jit
    def values_and_gradients(x, weight):
        forms = [
            plain,
            *(lambda x, w, f=f: f(x, w, out[2:], strides, padding, dilation) for f in FORMS),
        ]
        results = (jax.vjp(form, x, weight) for form in forms)
        return [(y, *pull(slope)) for y, pull in results]

    expected, *found = values_and_gradients(x, weight)
    for form in found:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), form, expected)


@pytest.mark.parametrize(("n", "groups"), [(1, 3), (2, 3), (3, 3), (3, 1)])
def test_groups_and_volumes(n, groups):
    generator = np.random.default_rng(n)
    x = jnp.asarray(generator.normal(size=(2, 6, *(7, 6, 5)[:n])), jnp.float32)
    weight = jnp.asarray(generator.normal(size=(9, 6 // groups, *(3, 2, 1)[:n])), jnp.float32)
    strides, padding, dilation = (2, 1, 3)[:n], [(2, 2), (0, 0), (1, 1)][:n], (1, 3, 1)[:n]

    def plain(x, weight):
        return lax.conv_general_dilated(
            x, weight, strides, padding, rhs_dilation=dilation, feature_group_count=groups
        )

    @jax.jit
    def values_and_gradients(x, weight):
        forms = (
            plain,
            lambda x, w: cpu.convolve(x, w, strides, padding, dilation, plain),
        )
        return [
            (
                form(x, weight),
                jax.grad(lambda *a, f=form: jnp.sum(jnp.sin(f(*a))), (0, 1))(x, weight),
            )
            for form in forms
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "_MANY", 0)
        expected, found = values_and_gradients(x, weight)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, expected)


@pytest.mark.parametrize(
    ("x", "weight", "form"),
    [
        ((16, 32, 32, 32), (32, 32, 3, 3), "_side_by_side"),
        ((1, 64, 56, 56), (64, 64, 3, 3), "_side_by_side"),
        ((8, 256, 4, 4), (256, 256, 3, 3), "_kernels_times_patches"),
        ((16, 3, 32, 32), (32, 3, 3, 3), "_patches_times_kernels"),
        ((2, 16, 8, 32, 32), (32, 16, 3, 3, 3), "_plane_by_plane"),
        ((1, 3, 16, 64, 64), (32, 3, 3, 3, 3), "_kernels_times_patches"),
        ((4, 128, 16, 16), (128, 4, 3, 3), "_kernels_times_patches"),  # in 32 groups
        ((64, 64, 256, 256), (64, 32, 3, 3), None),  # whose patches would take 10 GiB
        ((16, 128, 16, 16), (128, 128, 3, 3), None),  # both cores work as it is
        ((4, 16, 16, 16), (16, 16, 3, 3), None),  # too small to arrange
        ((1, 96, 28, 28), (96, 1, 7, 7), "_shifted_multiples"),
        ((0, 256, 4, 4), (256, 256, 3, 3), None),  # an empty batch
    ],
)
def test_the_form_follows_from_the_sizes_and_is_for_cpus_alone(x, weight, form):
    taken = []

    def run(x, weight):
        groups = x.shape[1] // weight.shape[1]

        def plain(x, weight):
            return lax.conv_general_dilated(
                x, weight, ones, [(1, 1)] * len(ones), feature_group_count=groups
            )

        ones = (1,) * (x.ndim - 2)
        return cpu.convolve(x, weight, ones, [(1, 1)] * len(ones), ones, plain)

    with pytest.MonkeyPatch.context() as patch:
        for function in (*FORMS, cpu._shifted_multiples, cpu._plane_by_plane):
            name = function.__name__
            patch.setattr(
                cpu,
                name,
                lambda *args, f=function, name=name: (taken.append(name), f(*args))[1],
            )
        arrays = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (x, weight))
        exported = jax.export.export(jax.jit(run), platforms=("cuda",))(*arrays)
    assert taken[:1] == ([] if form is None else [form])
    text = exported.mlir_module()
    assert text.count("stablehlo.convolution") == 1 and "stablehlo.pad" not in text


def test_models_in_these_forms_verify(monkeypatch):
    monkeypatch.setattr(cpu, "_MANY", 0)
    monkeypatch.setattr(cpu, "_LARGE", 2000)
    used = []
    for function in FORMS:
        name = function.__name__
        monkeypatch.setattr(
            cpu, name, lambda *args, f=function, name=name: (used.append(name), f(*args))[1]
        )
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(5, 6, (3, 2), stride=2, padding=(2, 1), bias=False),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 40, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
    )
    imported = from_torch(model, torch.randn(3, 2, 5, 4))
    assert imported.report.outputs < 1e-5 and max(imported.report.gradients.values()) < 1e-5
    assert {name for name, _ in itertools.groupby(used)} == {f.__name__ for f in FORMS}


def test_a_topology_reads_the_convolution_in_every_form(monkeypatch):
    monkeypatch.setattr(cpu, "_MANY", 0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Tanh())
    imported = from_torch(model, torch.randn(2, 3, 7, 7), verify=False)
    topology = topology_of(imported, jnp.ones((3, 7, 7)))
    assert [(name, topology.kind(name)) for name in topology.names] == [
        ("0", "conv"),
        ("2", "conv"),
    ]
    weight = np.asarray(topology.channel("2").weight).reshape(
        4, 3, 3, 4
    )  # of all inputs, 0 if unused
    expected = np.einsum("ihw,io->ihwo", model[2].weight.detach().numpy()[:, 0], np.eye(4))
    np.testing.assert_allclose(weight, expected)


def test_a_symbolic_batch_is_exported():
    torch.manual_seed(0)
    imported = from_torch(nn.Conv2d(2, 3, 3), torch.randn(2, 2, 5, 5), verify=False)
    (size,) = jax.export.symbolic_shape("n")
    shape = jax.ShapeDtypeStruct((size, 2, 5, 5), jnp.float32)
    exported = jax.export.export(jax.jit(lambda x: imported(x)))(shape)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 5, 5)), jnp.float32)
    np.testing.assert_allclose(exported.call(x), imported(x), atol=1e-5)
