"""The compiled loop against a plain one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
import pytest

from jaxinfo.train import fit


def square(model, x, y):
    return jnp.mean((jax.vmap(model)(x) - y) ** 2)


def test_one_epoch_of_one_batch_is_one_step(getkey):
    model = eqx.nn.MLP(3, 2, 4, 1, key=getkey())
    x, y = jr.normal(getkey(), (8, 3)), jr.normal(getkey(), (8, 2))
    optimiser = optax.sgd(0.1)
    fitted, run = fit(
        model, square, x, y, optimiser=optimiser, epochs=1, batch_size=8, key=getkey()
    )
    loss, grads = eqx.filter_value_and_grad(square)(model, x, y)
    by_hand = eqx.apply_updates(model, jax.tree_util.tree_map(lambda g: -0.1 * g, grads))
    assert eqx.tree_equal(fitted, by_hand, rtol=1e-5, atol=1e-6)
    assert jnp.allclose(run.loss, jnp.array([loss]))


def test_tracks_and_reports_every_epoch(getkey):
    model = eqx.nn.Linear(1, 1, key=getkey())
    x = jnp.linspace(-1, 1, 20)[:, None]
    epochs_seen = []
    fitted, run = fit(
        model,
        square,
        x,
        2 * x,
        optimiser=optax.adam(0.1),
        epochs=5,
        batch_size=6,
        key=getkey(),
        track={"weight": lambda m: m.weight, "both": lambda m: (m.bias, m.weight)},
        on_epoch=lambda epoch, loss: epochs_seen.append((epoch, loss)),
    )
    assert run.tracked["weight"].shape == (5, 1, 1)
    assert jnp.array_equal(run.tracked["weight"][-1], fitted.weight)
    assert run.tracked["both"][0].shape == (5, 1)
    assert [epoch for epoch, _ in epochs_seen] == [0, 1, 2, 3, 4]
    assert jnp.allclose(run.loss, jnp.array([loss for _, loss in epochs_seen]))
    assert run.loss[-1] < run.loss[0]


def test_compiles_once(getkey):
    traces = []

    def loss(model, x, y):
        traces.append(None)
        return square(model, x, y)

    x = jnp.ones((10, 1))
    arguments = {"optimiser": optax.sgd(0.1), "epochs": 4, "batch_size": 5, "key": getkey()}
    fit(eqx.nn.Linear(1, 1, key=getkey()), loss, x, x, **arguments)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("n", "batch_size", "message"),
    [(9, 5, "Here n = 10, as in `x`"), (10, 11, "at least one batch"), (10, 0, "`batch_size`")],
)
def test_bad_sizes(n, batch_size, message, getkey):
    with pytest.raises(ValueError, match=message):
        fit(
            eqx.nn.Linear(1, 1, key=getkey()),
            square,
            jnp.ones((10, 1)),
            jnp.ones((n, 1)),
            optimiser=optax.sgd(0.1),
            epochs=1,
            batch_size=batch_size,
            key=getkey(),
        )
