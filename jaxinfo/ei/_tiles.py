"""Tables of all pairs, a tile of pairs at a time, so that memory stays bounded."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

_TILE_CELLS = 2**25  # cells held at once (128 MiB), and as many again while a batch is added

Result = TypeVar("Result")


class Turn(NamedTuple):
    """Which of several passes over the samples this one is."""

    number: int | Int[Array, ""]
    of: int


class Tile(NamedTuple):
    """The pairs of `shape` neurons from the input and output neuron `corner` on.

    The last tiles may reach past the last neuron.
    """

    corner: Int[Array, " 2"]
    shape: tuple[int, int]
    turn: Turn


def over_tiles(
    n_in: int, n_out: int, cells: int, of_tile: Callable[[Tile], Result]
) -> tuple[Result, Callable[[Float[Array, "tiles tile_in tile_out"]], Float[Array, "n_in n_out"]]]:
    """`of_tile` of every tile, and how to arrange their matrices into one."""
    tile_in = min(n_in, max(1, _TILE_CELLS // cells))
    tile_out = min(n_out, max(1, _TILE_CELLS // (cells * tile_in)))
    rows, columns = -(-n_in // tile_in), -(-n_out // tile_out)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), -1)
    corners = grid.reshape(-1, 2) * jnp.array([tile_in, tile_out])

    def of_number(number: Array) -> Result:
        turn = Turn(number, rows * columns)
        return of_tile(Tile(corners[number], (tile_in, tile_out), turn))

    tiles = jax.lax.map(of_number, jnp.arange(rows * columns))

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
