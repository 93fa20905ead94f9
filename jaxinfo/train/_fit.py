"""The compiled experiment loop: train, and track quantities of the model as it learns."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from .._core import Positive, public

Model = TypeVar("Model")


class Trajectory(eqx.Module):
    """What a run of `fit` left behind.

    **Fields:**

    - `loss`: mean loss of each epoch.
    - `tracked`: for each name in `track`, the values after each epoch, along a first axis.
    """

    loss: Float[Array, " epochs"]
    tracked: dict[str, Any]


@public
def fit(
    model: Model,
    loss: Callable[[Model, Array, Array], Float[Array, ""]],
    x: Shaped[Array, "n ..."],
    y: Shaped[Array, "n ..."],
    *,
    optimiser: optax.GradientTransformation,
    epochs: Positive,
    batch_size: Positive,
    key: PRNGKeyArray,
    track: Mapping[str, Callable[[Model], Any]] | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tuple[Model, Trajectory]:
    """Minimise `loss(model, x_batch, y_batch)`; return the trained model and its trajectory.

    One epoch is one compiled `scan` over shuffled batches, the tracked quantities included; each
    compiles once. Examples that do not fill a last batch are left out of that epoch; the shuffle
    differs each time.

    **Arguments:**

    - `model`: an Equinox module, or any pytree; its floating-point arrays are trained.
    - `x`, `y`: examples along a first axis of equal length.
    - `track`: named functions of the model, evaluated after each epoch, such as
        `{"ei": lambda m: ei_parts("layers.0", topology_of(m, x[0]), key=key, samples=10_000)}`.
    - `on_epoch`: called on the host with the epoch's number and its mean loss.

    **Raises:** `ValueError` if `x` and `y` differ in length or hold less than one batch, and for no epochs.

    >>> import equinox as eqx, jax, jax.numpy as jnp, optax
    >>> x = jnp.linspace(-1, 1, 64)[:, None]
    >>> model = eqx.nn.Linear(1, 1, key=jax.random.key(0))
    >>> square = lambda m, x, y: jnp.mean((jax.vmap(m)(x) - y) ** 2)
    >>> model, run = fit(model, square, x, 3 * x, optimiser=optax.adam(0.1), epochs=30,
    ...     batch_size=16, key=jax.random.key(1), track={"slope": lambda m: m.weight[0, 0]})
    >>> f"{run.tracked['slope'][-1]:.2f}"
    '3.00'
    """
    if batch_size > len(x):
        raise ValueError(
            f"`x` and `y` must hold at least one batch; got {len(x)} examples and "
            f"batch_size={batch_size}."
        )
    x, y = jnp.asarray(x), jnp.asarray(y)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    track = dict(track or {})

    @jax.jit
    def epoch(params: Any, state: Any, key: PRNGKeyArray) -> tuple[Any, Any, Array, Any]:
        order = jr.permutation(key, len(x))
        order = order[: len(x) // batch_size * batch_size].reshape(-1, batch_size)

        def step(carry: tuple[Any, Any], rows: Array) -> tuple[tuple[Any, Any], Array]:
            params, state = carry
            value, grads = jax.value_and_grad(
                lambda params: loss(eqx.combine(params, static), x[rows], y[rows])
            )(params)
            updates, state = optimiser.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), value

        (params, state), losses = jax.lax.scan(step, (params, state), order)
        trained = eqx.combine(params, static)
        seen = {name: quantity(trained) for name, quantity in track.items()}
        return params, state, jnp.mean(losses), seen

    state = optimiser.init(params)
    losses, tracked = [], []
    for number, epoch_key in enumerate(jr.split(key, epochs)):
        params, state, value, seen = epoch(params, state, epoch_key)
        losses.append(value)
        tracked.append(seen)
        if on_epoch is not None:
            on_epoch(number, float(value))
    stacked = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *tracked)
    return eqx.combine(params, static), Trajectory(jnp.stack(losses), stacked)
