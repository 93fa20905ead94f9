"""Samples under intervention: every input neuron uniform over its range, independently.

Samples are drawn in blocks of `BLOCK`, each a function of the key and the block's number. So sample
number `i` is the same whatever the batch size, the tile, or the device that draws it.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..info import Binning
from ..network import Channel
from ..network._channel import unnamed

BLOCK = 1000


class Setting(eqx.Module):
    """What is measured: a channel, with the binning of its inputs and of its outputs."""

    channel: Channel
    in_binning: Binning
    out_binning: Binning

    @property
    def unnamed(self) -> "Setting":
        """The setting as compiled programs see it: for layers of one shape it is the same."""
        return Setting(unnamed(self.channel), self.in_binning, self.out_binning)

    def inputs(self, unit: Float[Array, "n n_in"]) -> Float[Array, "n n_in"]:
        """Points of the unit cube, spread over the input range."""
        lower, upper = self.in_binning.lower, self.in_binning.upper
        # Rounding may carry `lower + (upper - lower) * unit` past `upper`.
        return jnp.minimum(lower + (upper - lower) * unit, upper)

    def outputs(self, x: Float[Array, "n n_in"]) -> Float[Array, "n n_out"]:
        """The channel's outputs for a batch of flat inputs, flattened."""
        x = x.reshape(x.shape[0], *self.channel.in_shape)
        return jax.vmap(self.channel)(x).reshape(x.shape[0], -1)


UnitDraw = Callable[[Int[Array, ""]], Float[Array, "block dimension"]]  # a block, by its number
Draw = Callable[[Int[Array, ""], int], Float[Array, "rows n_in"]]  # so many blocks from a number on

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


def widest(bounds: Bounds, axis: str) -> Bounds:
    """The bounds of what all devices saw, along the axis of their mesh."""
    return jax.lax.pmin(bounds[0], axis), jax.lax.pmax(bounds[1], axis)
