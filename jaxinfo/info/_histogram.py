"""Joint histograms of every pair (input neuron, output neuron)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from ._counting import count_pairs


class PairHistogram(eqx.Module):
    """One two-way table of counts for each pair of columns: a commutative monoid.

    `zeros` is its unit, `merge` its product, `update` merges the histogram of more samples. Counts
    are int32, hence exact and independent of the order of the samples.

    **Fields:**

    - `counts`: `counts[a, b, i, j]` samples had input `a` in bin `i` and output `b` in bin `j`.
    - `samples`: number of samples seen, inside or outside.

    >>> import jax.numpy as jnp
    >>> h = PairHistogram.zeros(1, 1, 2, 2)
    >>> h = h.update(jnp.array([[0], [1], [1]]), jnp.array([[0], [1], [2]]))
    >>> h.counts[0, 0].tolist(), h.outside.tolist()
    ([[1, 0], [0, 1]], [[1]])
    """

    counts: Int[Array, "n_in n_out in_bins out_bins"]
    samples: Int[Array, ""]

    @classmethod
    def zeros(cls, n_in: int, n_out: int, in_bins: int, out_bins: int) -> "PairHistogram":
        """The histogram of no samples."""
        counts = jnp.zeros((n_in, n_out, in_bins, out_bins), jnp.int32)
        return cls(counts, jnp.zeros((), jnp.int32))

    def update(
        self,
        x: Int[Array, "n n_in"],
        y: Int[Array, "n n_out"],
        *,
        samples: Int[Array, ""] | None = None,
    ) -> "PairHistogram":
        """Add samples given as bin numbers; a number that is not a bin is outside.

        `samples` says how many of the rows are samples where the others are padding, which must
        hold no bin number; by default all are. Memory: the tables of all pairs, twice.
        """
        in_bins, out_bins = self.counts.shape[2:]
        seen = jnp.asarray(x.shape[0] if samples is None else samples, jnp.int32)
        return self.merge(PairHistogram(count_pairs(x, y, in_bins, out_bins), seen))

    def merge(self, other: "PairHistogram") -> "PairHistogram":
        """The histogram of both sets of samples."""
        if self.counts.shape != other.counts.shape:
            raise ValueError(
                "Histograms can be merged when they have the same neurons and bins; got shapes "
                f"{self.counts.shape} and {other.counts.shape}."
            )
        return PairHistogram(self.counts + other.counts, self.samples + other.samples)

    @property
    def outside(self) -> Int[Array, "n_in n_out"]:
        """For each pair, how many samples had one of the two values outside its range."""
        return self.samples - jnp.sum(self.counts, axis=(-2, -1))
