"""Joint histogram of whole vectors of bin numbers."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from .._core import bits_for, group_rows, number_of_bin, pack_fields, xlog2x
from ._histogram import added
from ._influence import error_of_mean


class JointHistogram(eqx.Module):
    r"""How often each distinct pair of vectors (input bins, output bins) was seen: a monoid.

    The space of vectors is far too large for a table ($8^{30}$ states for thirty neurons), so what
    is kept is the samples themselves, packed: `ceil(log2(bins))` bits a neuron. Equal rows are
    found by hashing and compared word by word, so the counts are exact.

    **Fields:**

    - `x`, `y`: packed rows, one sample each.
    - `inside`: false where a coordinate was outside its range, or the row is padding.
    - `samples`: number of samples seen, inside or outside.

    Memory: a row of words a sample, by nature; `entropies` costs $O(n)$.

    >>> import jax.numpy as jnp
    >>> h = JointHistogram.of(jnp.array([[0, 1], [1, 0]]), jnp.array([[0], [1]]), 2, 2)
    >>> h.mutual_information()
    Array(1., dtype=float32)
    """

    x: UInt32[Array, "rows x_words"]
    y: UInt32[Array, "rows y_words"]
    inside: Bool[Array, " rows"]
    samples: Int[Array, ""]

    @classmethod
    def zeros(cls, n_in: int, n_out: int, in_bins: int, out_bins: int) -> "JointHistogram":
        """The histogram of no samples."""
        none = jnp.zeros((0, n_in), jnp.int32), jnp.zeros((0, n_out), jnp.int32)
        return cls.of(*none, in_bins, out_bins)

    @classmethod
    def of(
        cls,
        x: Int[Array, "n n_in"],
        y: Int[Array, "n n_out"],
        in_bins: int,
        out_bins: int,
        *,
        samples: Int[Array, ""] | None = None,
    ) -> "JointHistogram":
        """The histogram of samples given as bin numbers.

        A row with a number that is not a bin is outside. `samples` says how many rows are samples
        where the others are padding, which must hold no bin number; by default all are.
        """
        x, y = number_of_bin(x, in_bins), number_of_bin(y, out_bins)
        inside = jnp.all(x < in_bins, 1) & jnp.all(y < out_bins, 1)
        return cls(
            pack_fields(jnp.where(inside[:, None], x, 0), bits_for(in_bins)),
            pack_fields(jnp.where(inside[:, None], y, 0), bits_for(out_bins)),
            inside,
            jnp.asarray(x.shape[0] if samples is None else samples, jnp.int32),
        )

    def merge(self, other: "JointHistogram") -> "JointHistogram":
        """The histogram of both sets of samples.

        **Raises:** `ValueError` for more samples than can be counted.
        """
        return JointHistogram(
            jnp.concatenate([self.x, other.x]),
            jnp.concatenate([self.y, other.y]),
            jnp.concatenate([self.inside, other.inside]),
            added(self.samples, other.samples),
        )

    @property
    def outside(self) -> Int[Array, ""]:
        """How many samples had some coordinate outside its range."""
        return self.samples - jnp.sum(self.inside, dtype=jnp.int32)

    def counts(self) -> tuple[Int[Array, " rows"], Int[Array, " rows"], Int[Array, " rows"]]:
        """Counts of the distinct `x`, `y` and `(x, y)`, each at the row where it stands first.

        The other rows hold 0.
        """
        x, y, both = (_tally(first) for first in self._first_rows())
        return x, y, both

    def entropies(self) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
        """Plug-in $H(X)$, $H(Y)$ and $H(X, Y)$ in bits; 0 for an empty histogram."""
        x, y, both = (_entropy(tally) for tally in self.counts())
        return x, y, both

    def mutual_information(self) -> Float[Array, ""]:
        """Plug-in $I(X; Y) = H(X) + H(Y) - H(X, Y)$ in bits; 0 for an empty histogram."""
        return self.estimate()[0]

    def estimate(self) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
        r"""The plug-in mutual information, its standard error and its bias, in bits.

        With $d = \log_2 \frac{n_{xy} N}{n_x n_y}$ of each sample inside, the standard error is
        $\sqrt{\mathrm{Var}(d) / N}$, corrected as in `standard_error`; the bias is of first order,
        $(K_{xy} - K_x - K_y + 1) / (2 N \ln 2)$ for $K$ distinct vectors. Both are NaN where more
        than a tenth of the samples are alone in their pair: then neither can be told.
        """
        firsts = self._first_rows()
        tallies = [_tally(first) for first in firsts]
        x, y, both = (_entropy(tally) for tally in tallies)
        bits = jnp.maximum(x + y - both, 0)
        total = jnp.maximum(jnp.sum(self.inside), 1).astype(float)
        x, y, both = (
            jnp.log2(tally.at[first].get(mode="fill", fill_value=1).astype(float))
            for tally, first in zip(tallies, firsts, strict=True)
        )
        deviation = jnp.where(self.inside, both + jnp.log2(total) - x - y - bits, 0)
        x, y, both = (jnp.sum(tally > 0) for tally in tallies)
        bias = (both - x - y + 1) / (2 * math.log(2) * total)
        error = error_of_mean(jnp.sum(deviation**2) / total, bias, total)
        known = (both > 0) & (jnp.sum(tallies[2] == 1) <= total / 10)
        return bits, jnp.where(known, error, jnp.nan), jnp.where(known, bias, jnp.nan)

    def _first_rows(self) -> tuple[Array, Array, Array]:
        """For each row, where its `x`, its `y` and its `(x, y)` stand first."""
        x, y = group_rows(self.x, self.inside), group_rows(self.y, self.inside)
        # Equal vectors share the number of their first row, so a pair of numbers stands for a pair.
        both = jnp.stack([x, y], axis=1).astype(jnp.uint32)
        return x, y, group_rows(both, self.inside)


def _tally(first: Int[Array, " rows"]) -> Int[Array, " rows"]:
    return jnp.zeros(first.shape[0], jnp.int32).at[first].add(1, mode="drop")


def _entropy(tally: Int[Array, " rows"]) -> Float[Array, ""]:
    return -jnp.sum(xlog2x(tally / jnp.maximum(jnp.sum(tally), 1).astype(float)))
