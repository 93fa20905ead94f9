"""Tables of all pairs, a tile of pairs at a time, so that memory stays bounded."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

_TILE_CELLS = 2**25  # cells held at once (128 MiB), and as many again while a batch is added

Result = TypeVar("Result")
Corner = Int[Array, " 2"]


def over_tiles(
    n_in: int, n_out: int, cells: int, tile: Callable[[Corner, tuple[int, int]], Result]
) -> tuple[Result, Callable[[Float[Array, "tiles tile_in tile_out"]], Float[Array, "n_in n_out"]]]:
    """`tile(corner, shape)` of every tile, and how to arrange their matrices into one.

    A tile of `shape` neurons starts at the input and output neuron `corner`; the last ones may
    reach past the last neuron.
    """
    tile_in = min(n_in, max(1, _TILE_CELLS // cells))
    tile_out = min(n_out, max(1, _TILE_CELLS // (cells * tile_in)))
    rows, columns = -(-n_in // tile_in), -(-n_out // tile_out)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), -1)
    corners = grid.reshape(-1, 2) * jnp.array([tile_in, tile_out])
    tiles = jax.lax.map(lambda corner: tile(corner, (tile_in, tile_out)), corners)

    def arrange(matrices: Array) -> Array:
        matrix = matrices.reshape(rows, columns, tile_in, tile_out).transpose(0, 2, 1, 3)
        return matrix.reshape(rows * tile_in, columns * tile_out)[:n_in, :n_out]

    return tiles, arrange


def columns(
    values: Shaped[Array, "*rows d"], first: Int[Array, ""], size: int, *, fill: int | float
) -> Shaped[Array, "*rows size"]:
    """`size` columns from `first` on; `fill` past the last column."""
    widths = [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % size)]
    padded = jnp.pad(values, widths, constant_values=fill)
    return jax.lax.dynamic_slice_in_dim(padded, first, size, axis=-1)
