"""Structured maps and recurrent networks, forward and backward, batch 64, beside slim and geotorch.

Both sides start from the same parameters where they have the same ones, and their gradients of
`sum(map(x)**2)` are compared before they are timed.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import jaxinfo.maps as maps

from ._harness import Case, best_time, row
from ._peers import slim


def _gradient_of(fn: Callable[[Any, Any], jax.Array]) -> Callable[[Any, Any], Any]:
    return eqx.filter_jit(eqx.filter_grad(lambda m, x: jnp.sum(fn(m, x) ** 2)))


def _torch_gradient(module: Any, x: Any, output: Callable[[Any], Any]) -> Callable[[], Any]:
    def work() -> Any:
        module.zero_grad(set_to_none=True)
        (output(module(x)) ** 2).sum().backward()
        return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}

    return work


def _case(
    load: Callable[[dict[str, Any]], Any],
    fn: Callable[[Any, Any], jax.Array],
    peer: Any,
    shape: tuple[int, ...],
    output: Callable[[Any], Any],
    compare: tuple[Callable[[Any], Any], str],
    place: Callable[[np.ndarray], jax.Array] = jnp.asarray,
) -> Case:
    """`compare`: where our gradient holds the array that the peer's has under the name."""
    import torch

    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    mine, gradient = place(x), _gradient_of(fn)
    m = load({name: array.numpy() for name, array in peer.state_dict().items()})
    where, name = compare

    def check(ours: Any, theirs: Any) -> None:
        expected = np.asarray(theirs[name])
        actual = np.asarray(where(ours)).reshape(expected.shape)
        assert np.abs(actual - expected).max() <= 2e-3 * np.abs(expected).max()

    return Case(lambda: gradient(m, mine), _torch_gradient(peer, torch.tensor(x), output), check)


def _same(y: Any) -> Any:
    return y


@row("map orthogonal", peer="slim")
def _orthogonal(quick: bool) -> Case:
    n = 64 if quick else 256
    peer = slim().OrthogonalLinear(n, n, bias=True)
    load = partial(
        maps.OrthogonalLinear.from_parameters, in_features=n, out_features=n, use_bias=True
    )
    return _case(load, lambda m, x: m(x), peer, (64, n), _same, (lambda g: g.U, "U"))


@row("map spectral", peer="slim")
def _spectral(quick: bool) -> Case:
    n = 64 if quick else 256
    peer = slim().SpectralLinear(n, n, bias=True)
    load = partial(
        maps.SpectralLinear.from_parameters, in_features=n, out_features=n, use_bias=True
    )
    return _case(load, lambda m, x: m(x), peer, (64, n), _same, (lambda g: g.U, "U"))


def _butterfly(quick: bool, tied: bool) -> Case:
    n = 256 if quick else 1024
    peer = slim().ButterflyLinear(n, n, tied_weight=tied)
    sizes = {"in_features": n, "out_features": n}
    load = partial(maps.ButterflyLinear.from_parameters, **sizes, tied_weight=tied)
    place = (lambda g: g.twiddle, "linmap.twiddle")
    return _case(load, lambda m, x: m(x), peer, (64, n), _same, place)


row("map butterfly tied", peer="slim")(lambda quick: _butterfly(quick, True))
row("map butterfly untied", peer="slim")(lambda quick: _butterfly(quick, False))


def _rnn(
    quick: bool,
    inputs: int,
    place: Callable[[np.ndarray], jax.Array] = jnp.asarray,
    share: Callable[[maps.RNN], maps.RNN] = _same,
) -> Case:
    module = slim()
    hidden, length = (32, 50) if quick else (128, 200)
    peer = module.RNN(inputs, hidden, cell_args={"hidden_map": module.PerronFrobeniusLinear})
    cell_args = {"hidden_map": maps.PerronFrobeniusLinear}

    def load(params: dict[str, Any]) -> maps.RNN:
        return share(maps.RNN.from_parameters(params, inputs, hidden, cell_args=cell_args))

    name = "rnn_cells.0.lin_hidden.weight"
    where = (lambda g: g.rnn_cells[0].lin_hidden.weight, name)
    shape = (length, 64, inputs)
    case = _case(load, lambda m, x: m(x)[0], peer, shape, lambda y: y[0], where, place)
    floor = _products_time(*shape, hidden)
    return dataclasses.replace(case, floor=floor, floor_note="its products on one device")


def _products_time(length: int, batch: int, inputs: int, hidden: int) -> float:
    """Seconds of the bare products of a recurrent layer and its gradient.

    One product a step each way, which XLA runs on one core, and three over the whole sequence: of the
    inputs, and for the gradients of the two matrices.
    """
    x = jnp.ones((length * batch, inputs))
    W, V = jnp.ones((hidden, hidden)) / hidden, jnp.ones((inputs, hidden)) / inputs

    @jax.jit
    def products(x, V, W):
        driven = x @ V
        first = driven[:batch]
        there, _ = jax.lax.scan(lambda h, _: (h @ W, None), first, length=length)
        back, _ = jax.lax.scan(lambda h, _: (h @ W.T, None), there, length=length)
        return back, x.T @ driven, driven.T @ driven

    return best_time(lambda: products(x, V, W))


row("rnn 128 inputs", peer="slim")(lambda quick: _rnn(quick, 128))
row("rnn 16 inputs", peer="slim")(lambda quick: _rnn(quick, 16))


@row("rnn 128 inputs, two devices", peer="slim")
def _rnn_on_two_devices(quick: bool) -> Case:
    """The batch divided among them, the parameters on each: JAX's way to use the cores of a CPU."""
    mesh = jax.make_mesh((2,), ("batch",), devices=jax.devices()[:2])
    divided, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((None, "batch"), ()))
    place = partial(jax.device_put, device=divided)
    return _rnn(quick, 128, place, partial(eqx.filter_shard, device_or_shardings=whole))


@row("map orthogonal layer", peer="geotorch")
def _geotorch(quick: bool) -> Case:
    """Another parametrisation of the same set: the outputs keep the length of the inputs."""
    import geotorch
    import torch

    n = 64 if quick else 512
    peer = torch.nn.Linear(n, n, bias=False)
    geotorch.orthogonal(peer, "weight")
    x = np.random.default_rng(0).normal(size=(64, n)).astype(np.float32)
    m, mine, theirs = maps.OrthogonalLinear(n, n, key=jr.key(0)), jnp.asarray(x), torch.tensor(x)
    work = eqx.filter_jit(
        eqx.filter_value_and_grad(lambda m, x: (jnp.sum((y := m(x)) ** 2), y), has_aux=True)
    )

    def peer_work() -> Any:
        peer.zero_grad(set_to_none=True)
        y = peer(theirs)
        (y**2).sum().backward()
        return y.detach()

    def check(ours: Any, y: Any) -> None:
        lengths = np.linalg.norm(x, axis=1)
        for out in (ours[0][1], y):
            np.testing.assert_allclose(np.linalg.norm(np.asarray(out), axis=1), lengths, rtol=1e-4)

    return Case(lambda: work(m, mine), peer_work, check)
