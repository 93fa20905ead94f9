"""Every pattern that a neuron can take on given data, exactly."""

import itertools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Bool, Int, Int64, Real, UInt32

from .._core import group_rows, is_traced, public
from ._exact import Exact, ExactSigns, independent_columns, primitive_rows
from ._packed import WORD, PackedPatterns, words_for

_CHUNK_BYTES = 2**25  # of one table of signs
_FIRST_COMPACTION = 2**16


@public
def num_patterns(n: int, rank: int) -> int:
    r"""Cover's count of the patterns of `n` points in general position of the given rank.

    $$2 \sum_{k < rank} \binom{n - 1}{k}$$

    The number of cells into which `n` hyperplanes through the origin cut a space of dimension
    `rank`: of patterns without a point exactly on the boundary. No set of `n` points of that rank has
    more. With a bias the rank is one more, unless the ones are already in the column space.

    **Raises:** `ValueError` for `n < 1` or `rank < 0`.

    **Source:** Cover (1965), *Geometrical and statistical properties of systems of linear
    inequalities with applications in pattern recognition*, IEEE Trans. Electronic Computers 14:326.

    >>> num_patterns(6, 2), num_patterns(3, 5)
    (12, 8)
    """
    if n < 1 or rank < 0:
        raise ValueError(f"`n` must be at least 1 and `rank` at least 0; got {n} and {rank}.")
    return 2 * sum(math.comb(n - 1, k) for k in range(min(rank, n)))


@public
def enumerate_patterns(
    X: Real[ArrayLike, "n d"],
    *,
    bias: bool = False,
    strict: bool = False,
    limit: int = 2**24,
    progress: Callable[[int, int], None] | None = None,
) -> PackedPatterns:
    r"""The set $\{1(Xw \geq 0) : w \in \mathbb{R}^d\}$, each pattern once.

    All `w` count, also those with $x_i^\top w = 0$ exactly and $w = 0$ itself, which gives the pattern
    of ones (of zeros if `strict`). For points in general position there are `num_patterns(n, rank)`
    patterns, and one more where that pattern needs $w = 0$: where no open half-space holds all points.

    **Arguments:**

    - `X`: data, one example a row; of any rank, with repeated rows, zero rows, points in a line.
    - `bias`: enumerate $1(Xw + b \geq 0)$.
    - `strict`: enumerate $1(Xw > 0)$.
    - `limit`: refuse when general position would give more patterns than this.
    - `progress`: called as `progress(done, total)` while it runs.

    **Returns:** the patterns, in no particular order, none twice and no padding.

    **Method:** every pattern other than that of $w = 0$ belongs to a cone that reaches some ray on
    which `rank - 1` independent hyperplanes meet. Around a ray, the rows that are not 0 on it keep
    their sign, and those that are 0 take every pattern that they can take by themselves: the same
    question one rank lower. So: all subsets of `rank - 1` rows, the signs on their rays, the answer
    one rank lower (all $2^{rank-1}$ patterns in general position), duplicates removed.

    **Exact** for the numbers as they are stored: signs that rounding could change are computed in
    integers. Note that points such as (0.1, 0.1) and (0.3, 0.3) are proportional as written, and as
    stored they may not be.

    **Cost:** $2^r \binom{n}{r - 1}$ candidates for rank $r$, on the host; not for use under `jit`.

    **Raises:** `ValueError` if there would be more than `limit` patterns, with their number, and for
    NaN or infinity; `TypeError` under `jit`.

    >>> import numpy as np
    >>> found = enumerate_patterns(np.array([[1, 0], [0, 1], [-1, 0]]))
    >>> sorted(map(tuple, found.unpack(int).T.tolist()))
    [(0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)]
    """
    if is_traced(X):
        raise TypeError("`enumerate_patterns` runs on the host: call it outside `jit` and `vmap`.")
    data = np.asarray(X)
    if data.ndim != 2:
        raise ValueError(f"`X` must be a matrix, one example a row; got shape {data.shape}.")
    if not np.issubdtype(data.dtype, np.integer):
        data = data.astype(np.float64)
        if not np.all(np.isfinite(data)):
            raise ValueError("`X` must be finite; it holds NaN or infinity.")
    if bias:
        data = np.concatenate([data, np.ones((len(data), 1), data.dtype)], axis=1)
    words = _enumerate(primitive_rows(data), not strict, limit, progress)
    return PackedPatterns(jnp.asarray(words), len(data))


class _Examples:
    """How the bits of `m` directions are laid out over the examples, 32 to a word."""

    def __init__(self, rows: Exact, at_zero: bool):
        as_tuples = [tuple(row) for row in rows]
        number = {row: i for i, row in enumerate(dict.fromkeys(filter(any, as_tuples)))}
        self.n = len(rows)
        self.directions = np.array(list(number), object).reshape(len(number), rows.shape[1])
        # Rows that are 0 take what is behind the last direction: `at_zero`.
        self._direction = np.array([number.get(row, len(number)) for row in as_tuples], int)
        self._at_zero = at_zero

    def pack(self, bits: Bool[np.ndarray, "p m"]) -> UInt32[np.ndarray, "p words"]:
        """The words of `PackedPatterns`."""
        with_zero = np.pad(bits, ((0, 0), (0, 1)), constant_values=self._at_zero)
        padding = ((0, 0), (0, -self.n % WORD))
        by_example = np.pad(np.take(with_zero, self._direction, axis=1), padding)
        as_bytes = np.ascontiguousarray(np.packbits(by_example, axis=1, bitorder="little"))
        return as_bytes.view("<u4").astype(np.uint32)


def _enumerate(
    rows: Exact, at_zero: bool, limit: int, progress: Callable[[int, int], None] | None
) -> UInt32[np.ndarray, "p words"]:
    """The patterns of integer rows; what is exactly 0 counts as `at_zero`."""
    examples = _Examples(rows, at_zero)
    found = _DistinctWords(words_for(examples.n))
    # At w = 0 every row is 0.
    found.add(examples.pack(np.full((1, len(examples.directions)), at_zero)))
    if len(examples.directions):
        _add_directions(found, examples, at_zero, limit, progress)
    return found.words


def _add_directions(
    found: "_DistinctWords",
    examples: _Examples,
    at_zero: bool,
    limit: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Add the patterns of `w` other than 0."""
    # {Xw} is the column space, so a basis of it among the columns will do.
    rows = examples.directions
    rows = rows[:, independent_columns(rows)]
    m, rank = rows.shape
    count = num_patterns(m, rank)
    if count > limit:
        raise ValueError(
            f"{m} directions of rank {rank} have up to {count} patterns, "
            f"{count * words_for(examples.n) * 4 / 2**30:.2g} GiB; `limit` is {limit}. Take fewer "
            "examples, or features; or sample with `activation_patterns`; or raise `limit`."
        )
    each = examples.pack(np.eye(m, dtype=bool))
    if m == rank:  # independent rows take every pattern
        found.add(_with_every_subset(examples.pack(np.zeros((1, m), bool)), each[None]))
        return
    arrangement = ExactSigns(rows)
    local: dict[bytes, np.ndarray] = {}
    seen: set[bytes] = set()
    total, done = math.comb(m, rank - 1), 0
    for subsets in _chunks(m, rank - 1, _CHUNK_BYTES // (examples.n * 2**rank)):
        signs = arrangement.signs(subsets)
        zeros = np.sum(signs == 0, axis=1)
        general = zeros == rank - 1
        for side in (1, -1):
            base = examples.pack(signs[general] == side)
            found.add(_with_every_subset(base, each[subsets[general]]))
        # More rows than needed meet on the ray, so several subsets find it. All zeros: no ray.
        for ray in np.unique(signs[(zeros >= rank) & (zeros < m)], axis=0):
            ray = ray * ray[np.flatnonzero(ray)[0]]
            if ray.tobytes() not in seen:
                seen.add(ray.tobytes())
                on_ray = np.flatnonzero(ray == 0)
                if on_ray.tobytes() not in local:
                    words = _enumerate(rows[on_ray], at_zero, limit, None)
                    local[on_ray.tobytes()] = _unpacked(words, len(on_ray))
                for side in (1, -1):
                    around = np.tile(ray == side, (len(local[on_ray.tobytes()]), 1))
                    around[:, on_ray] = local[on_ray.tobytes()]
                    found.add(examples.pack(around))
        done += len(subsets)
        if progress is not None:
            progress(done, total)


def _with_every_subset(
    base: UInt32[np.ndarray, "n words"], bits: UInt32[np.ndarray, "n k words"]
) -> UInt32[np.ndarray, "p words"]:
    """Each row of `base` with every union of its `k` sets of bits added."""
    for i in range(bits.shape[1]):
        with_it = base | np.tile(bits[:, i], (2**i, 1))
        base = np.concatenate([base, with_it])
    return base


def _chunks(m: int, k: int, size: int) -> Iterator[Int64[np.ndarray, "n k"]]:
    """All subsets of `k` of `m` rows, `size` at a time."""
    subsets = itertools.combinations(range(m), k)
    while chunk := list(itertools.islice(subsets, max(size, 1))):
        yield np.array(chunk, np.int64).reshape(len(chunk), k)


def _unpacked(words: UInt32[np.ndarray, "p words"], n: int) -> Bool[np.ndarray, "p n"]:
    as_bytes = np.ascontiguousarray(words.astype("<u4")).view(np.uint8)
    return np.unpackbits(as_bytes, axis=1, count=n, bitorder="little").astype(bool)


_first_equal = jax.jit(group_rows)


class _DistinctWords:
    """A growing set of rows of words; duplicates are removed whenever it has doubled."""

    def __init__(self, n_words: int):
        self._held = np.zeros((0, n_words), np.uint32)
        self._pending: list[np.ndarray] = []
        self._n_pending = 0

    def add(self, words: UInt32[np.ndarray, "p words"]) -> None:
        self._pending.append(words)
        self._n_pending += len(words)
        if self._n_pending > max(len(self._held), _FIRST_COMPACTION):
            self._compact()

    @property
    def words(self) -> UInt32[np.ndarray, "p words"]:
        if self._n_pending:
            self._compact()
        return self._held

    def _compact(self) -> None:
        rows = np.concatenate([self._held, *self._pending])
        # Lengths are powers of two, so that there are few programs to compile.
        padding = max(1024, 1 << (len(rows) - 1).bit_length()) - len(rows)
        padded = np.pad(rows, ((0, padding), (0, 0)))
        first: Int[np.ndarray, " rows"] = np.asarray(
            _first_equal(padded, np.arange(len(padded)) < len(rows))
        )
        self._held = rows[first[: len(rows)] == np.arange(len(rows))]
        self._pending, self._n_pending = [], 0
