"""Samples under intervention: every input neuron uniform over its range, independently.

Samples are drawn in blocks of `BLOCK`, each a function of the key and the block's number. So sample
number `i` is the same whatever the batch size, the tile, or the device that draws it.
"""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..info import Binning
from ..network import Channel

BLOCK = 1000


class Setting(eqx.Module):
    """What is measured: a channel, with the binning of its inputs and of its outputs."""

    channel: Channel
    in_binning: Binning
    out_binning: Binning

    def inputs(self, unit: Float[Array, "n n_in"]) -> Float[Array, "n n_in"]:
        """Points of the unit cube, spread over the input range."""
        lower, upper = self.in_binning.lower, self.in_binning.upper
        # Rounding may carry `lower + (upper - lower) * unit` past `upper`.
        return jnp.minimum(lower + (upper - lower) * unit, upper)

    def outputs(self, x: Float[Array, "n n_in"]) -> Float[Array, "n n_out"]:
        """The channel's outputs for a batch of flat inputs, flattened."""
        x = x.reshape(x.shape[0], *self.channel.in_shape)
        return jax.vmap(self.channel)(x).reshape(x.shape[0], -1)


State = TypeVar("State")
Draw = Callable[[Int[Array, ""]], Float[Array, "block n_in"]]  # a block of inputs, by its number
UnitDraw = Callable[[Int[Array, ""]], Float[Array, "block dimension"]]  # the same of the unit cube


def fold_batches(
    draw: Draw,
    start: int | Int[Array, ""],
    stop: int | Int[Array, ""],
    batch_blocks: int,
    step: Callable[[State, Array, Array], State],
    state: State,
) -> State:
    """Fold `state = step(state, x, valid)` over the samples number `start` to `stop`, in batches.

    A batch `x` holds `batch_blocks * BLOCK` rows; `valid` says which of them are among the samples.
    """
    size = batch_blocks * BLOCK

    def more(carry: tuple[Array, State]) -> Array:
        return carry[0] * BLOCK < stop

    def body(carry: tuple[Array, State]) -> tuple[Array, State]:
        block, state = carry
        blocks = block + jnp.arange(batch_blocks, dtype=jnp.int32)
        x = jax.vmap(draw)(blocks).reshape(size, -1)
        number = block * BLOCK + jnp.arange(size, dtype=jnp.int32)
        return block + batch_blocks, step(state, x, (number >= start) & (number < stop))

    first = jnp.asarray(start, jnp.int32) // BLOCK
    _, state = jax.lax.while_loop(more, body, (first, state))
    return state


Bounds = tuple[Float[Array, " n_out"], Float[Array, " n_out"]]


def no_bounds(setting: Setting) -> Bounds:
    """The bounds of no samples: the unit of `widen`."""
    empty = jnp.full(setting.channel.n_out, jnp.inf, setting.in_binning.lower.dtype)
    return empty, -empty


def widen(setting: Setting, bounds: Bounds, x: Array, valid: Array) -> Bounds:
    """The bounds of the outputs, widened by those of the valid inputs `x`."""
    y = setting.outputs(x).astype(bounds[0].dtype)
    low = jnp.min(jnp.where(valid[:, None], y, jnp.inf), axis=0)
    high = jnp.max(jnp.where(valid[:, None], y, -jnp.inf), axis=0)
    return jnp.minimum(bounds[0], low), jnp.maximum(bounds[1], high)
