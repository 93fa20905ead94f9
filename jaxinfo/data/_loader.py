"""Batches of several design matrices in one order."""

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

Matrix = jax.Array | np.ndarray


class DataLoader:
    """Batches of one or more named design matrices, drawn without replacement.

    Each pass over the loader yields batches `[("name", rows), ...]` in a new order, the same for
    all matrices; the key fixes the sequence of orders.

    **Arguments:**

    - `design_matrices`: pairs `(name, matrix)`, examples along the first axis.
    - `batch_size`: examples a batch.
    - `disable_shuffle`: serve the examples in their own order; then no key is needed.
    - `ensure_equal_batches`: fill a short last batch with random examples already seen, other ones
        in each pass, or without a key with the first of all; otherwise the last batch is short.
    - `key`: a random key.

    **Raises:** `ValueError` for no matrices, matrices of different length, a batch size below 1 or
    above the number of examples, and for no key where one is needed; `TypeError` for a batch size
    that is not a whole number.

    >>> loader = DataLoader([("x", jnp.arange(5) * 10)], 2, disable_shuffle=True)
    >>> [batch[0][1].tolist() for batch in loader]
    [[0, 10], [20, 30], [40, 0]]

    A compiled loop takes the whole pass as one array of row numbers:

    >>> loader = DataLoader([("x", jnp.arange(6.0))], 2, key=jr.key(0))
    >>> x = jnp.arange(6.0)
    >>> jax.lax.scan(lambda total, rows: (total + x[rows].sum(), None), 0.0, loader.indices(0))[0]
    Array(15., dtype=float32)
    """

    def __init__(
        self,
        design_matrices: Sequence[tuple[str, Matrix | Sequence[Any]]],
        batch_size: int,
        disable_shuffle: bool = False,
        ensure_equal_batches: bool = True,
        key: PRNGKeyArray | None = None,
    ):
        pairs = [
            (name, matrix if isinstance(matrix, jax.Array) else np.asarray(matrix))
            for name, matrix in design_matrices
        ]
        if not pairs or any(matrix.ndim == 0 for _, matrix in pairs):
            raise ValueError(
                "`design_matrices` must hold at least one (name, matrix) pair, each matrix with its "
                f"examples along the first axis; got {[(n, x.shape) for n, x in pairs]}."
            )
        lengths = {name: len(matrix) for name, matrix in pairs}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"All design matrices must have equal length; got {lengths}.")
        (self.data_len,) = set(lengths.values())
        if not 1 <= batch_size <= self.data_len:
            raise ValueError(
                f"`batch_size` must lie between 1 and the number of examples {self.data_len}; got "
                f"{batch_size}."
            )
        if key is None and not disable_shuffle:
            raise ValueError(
                "Shuffling needs `key=`, such as `key=jax.random.key(0)`; or pass "
                "`disable_shuffle=True`."
            )
        self.design_matrices = pairs
        self.batch_size = operator.index(batch_size)
        self.disable_shuffle = disable_shuffle
        self.ensure_equal_batches = ensure_equal_batches
        self.key = key
        self._passes = 0

    def __len__(self) -> int:
        """Number of batches in a pass."""
        return -(-self.data_len // self.batch_size)

    def indices(self, epoch: int | Int[Array, ""]) -> Int[Array, "batches batch_size"]:
        """The row numbers of all batches of one pass; the same for the same key and epoch.

        Where the last batch is short it is padded with -1. `epoch` may be traced.
        """
        order = seen = jnp.arange(self.data_len)
        missing = len(self) * self.batch_size - self.data_len
        if self.key is not None:
            key = jr.fold_in(self.key, epoch)
            if self.disable_shuffle:
                seen = jr.permutation(key, self.data_len - self.data_len % self.batch_size)
            else:
                order = seen = jr.permutation(key, self.data_len)
        fill = seen[:missing] if self.ensure_equal_batches else jnp.full(missing, -1)
        return jnp.concatenate([order, fill]).reshape(len(self), self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[str, Matrix]]]:
        passes, self._passes = self._passes, self._passes + 1
        for rows in np.asarray(self.indices(passes)):
            present = rows[rows >= 0]
            yield [(name, matrix[present]) for name, matrix in self.design_matrices]
