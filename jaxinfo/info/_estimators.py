"""From a table of counts to an estimate of mutual information."""

import abc
import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._entropy import mutual_information


class AbstractEstimator(eqx.Module):
    """An estimate of the mutual information, in bits, behind a table of independent counts."""

    @abc.abstractmethod
    def __call__(self, counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
        """The estimate for each table of a batch."""

    @abc.abstractmethod
    def bias(self, counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
        """What the estimate is expected to add to the truth, for each table of a batch."""


class PlugIn(AbstractEstimator):
    """The mutual information of the observed frequencies, biased upwards.

    The bias is about $(R - 1)(C - 1) / (2 N \\ln 2)$ bits; an empty table counts as 0 bits, since
    nothing that fell inside the ranges says anything.
    """

    def __call__(self, counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
        empty = jnp.sum(counts, axis=(-2, -1), keepdims=True) == 0
        return mutual_information(jnp.where(empty, 1, counts))

    def bias(self, counts: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
        """First order in $1/N$, from the occupied cells: $(K_{xy} - K_x - K_y + 1)/(2 N \\ln 2)$."""
        cells = jnp.sum(counts > 0, axis=(-2, -1))
        rows = jnp.sum(jnp.any(counts > 0, axis=-1), axis=-1)
        columns = jnp.sum(jnp.any(counts > 0, axis=-2), axis=-1)
        total = jnp.maximum(jnp.sum(counts, axis=(-2, -1)), 1)
        return (cells - rows - columns + 1) / (2 * math.log(2) * total) * (cells > 0)
