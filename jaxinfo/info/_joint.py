"""Joint histogram of whole vectors of bin numbers."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from .._core import bits_for, group_rows, pack_fields, xlog2x


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
        inside = jnp.all((x >= 0) & (x < in_bins), 1) & jnp.all((y >= 0) & (y < out_bins), 1)
        return cls(
            pack_fields(jnp.where(inside[:, None], x, 0), bits_for(in_bins)),
            pack_fields(jnp.where(inside[:, None], y, 0), bits_for(out_bins)),
            inside,
            jnp.asarray(x.shape[0] if samples is None else samples, jnp.int32),
        )

    def merge(self, other: "JointHistogram") -> "JointHistogram":
        """The histogram of both sets of samples."""
        return JointHistogram(
            jnp.concatenate([self.x, other.x]),
            jnp.concatenate([self.y, other.y]),
            jnp.concatenate([self.inside, other.inside]),
            self.samples + other.samples,
        )

    @property
    def outside(self) -> Int[Array, ""]:
        """How many samples had some coordinate outside its range."""
        return self.samples - jnp.sum(self.inside, dtype=jnp.int32)

    def counts(self) -> tuple[Int[Array, " rows"], Int[Array, " rows"], Int[Array, " rows"]]:
        """Counts of the distinct `x`, `y` and `(x, y)`, each at the row where it stands first.

        The other rows hold 0.
        """
        x, y = group_rows(self.x, self.inside), group_rows(self.y, self.inside)
        # Equal vectors share the number of their first row, so a pair of numbers stands for a pair.
        both = jnp.stack([x, y], axis=1).astype(jnp.uint32)
        return _tally(x), _tally(y), _tally(group_rows(both, self.inside))

    def entropies(self) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
        """Plug-in $H(X)$, $H(Y)$ and $H(X, Y)$ in bits; 0 for an empty histogram."""
        total = jnp.maximum(jnp.sum(self.inside), 1).astype(float)
        x, y, both = (-jnp.sum(xlog2x(counts / total)) for counts in self.counts())
        return x, y, both

    def mutual_information(self) -> Float[Array, ""]:
        """Plug-in $I(X; Y) = H(X) + H(Y) - H(X, Y)$ in bits; 0 for an empty histogram."""
        x, y, both = self.entropies()
        return jnp.maximum(x + y - both, 0)


def _tally(first: Int[Array, " rows"]) -> Int[Array, " rows"]:
    return jnp.zeros(first.shape[0], jnp.int32).at[first].add(1, mode="drop")
