"""Joint histograms of every pair (input neuron, output neuron)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._core import checked, number_of_bin, undivided
from ._counting import count_pairs
from ._influence import influence_of_cells


class PairHistogram(eqx.Module):
    """One two-way table of counts for each pair of columns: a commutative monoid.

    `zeros` is its unit, `merge` its product, `update` merges the histogram of more samples. Counts
    are int32, hence exact and independent of the order of the samples, of which there can be
    $2^{31} - 1$: what would count more raises (inside `jit`, under `value_checks`).

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
        """The histogram of both sets of samples.

        **Raises:** `ValueError` for histograms of other shapes, or of more samples than can be counted.
        """
        if self.counts.shape != other.counts.shape:
            raise ValueError(
                "Histograms can be merged when they have the same neurons and bins; got shapes "
                f"{self.counts.shape} and {other.counts.shape}."
            )
        return PairHistogram(added(self.counts, other.counts), added(self.samples, other.samples))

    @property
    def outside(self) -> Int[Array, "n_in n_out"]:
        """For each pair, how many samples had one of the two values outside its range."""
        return self.samples - jnp.sum(self.counts, axis=(-2, -1))

    def influence(self, x: Int[Array, "n n_in"], y: Int[Array, "n n_out"]) -> Float[Array, " n"]:
        r"""What a sample adds to the sum over pairs of mutual information, to first order in $1/N$.

        $\hat I - I \approx \frac1N \sum_s \phi(x_s, y_s)$ with, for each pair,
        $\phi = (d_{ij} - \hat I) N / N_{inside}$ for the information density $d$ in **bits** (its
        leave-one-out form, as in `standard_error`), and 0 outside. The variance of
        $\phi / \sqrt N$ over a few samples, given as bin numbers, is that of the estimate, with all
        covariances between pairs.
        """
        return undivided(PairHistogram._influence, self, x, y, batch=x)

    def _influence(self, x: Array, y: Array) -> Float[Array, " n"]:
        inside = jnp.maximum(jnp.sum(self.counts, axis=(-2, -1)), 1)
        phi = influence_of_cells(self.counts) * (self.samples / inside)[..., None, None]
        in_bins, out_bins = self.counts.shape[2:]
        x, y = number_of_bin(x, in_bins), number_of_bin(y, out_bins)
        outputs = jnp.arange(y.shape[1])

        def add(total: Array, column: tuple[Array, Array]) -> tuple[Array, None]:
            table, i = column
            each = table.at[outputs, i[:, None], y].get(mode="fill", fill_value=0)
            return total + jnp.sum(each, axis=1), None

        total, _ = jax.lax.scan(add, jnp.zeros(x.shape[0]), (phi, x.T))
        return total


def added(a: Int[Array, "*shape"], b: Int[Array, "*shape"]) -> Int[Array, "*shape"]:
    """The sum of two counts, or an error where it does not fit."""
    total = a + b
    message = f"The sum of two histograms holds more samples than {total.dtype} can count."
    return checked(total, jnp.any((total < a) | (total < b)), message)
