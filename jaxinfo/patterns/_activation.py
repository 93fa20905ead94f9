"""The patterns of given gates on given data."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Real, Shaped

from .._core import checked, is_traced, public, undivided
from ._distinct import pattern_slots
from ._packed import WORD, PackedPatterns, packed_over_examples, words_for

# Products of a block: enough work for every core, in the last cache; what fills an accelerator.
_CPU_BLOCK, _ACCELERATOR_BLOCK = 2**20, 2**26
_FEW_GATES, _MANY_GATES = 1024, 8192


@public
def activation_patterns(
    X: Real[ArrayLike, "n d"], G: Real[ArrayLike, "gate_dim m"], *, strict: bool = False
) -> PackedPatterns:
    r"""The pattern of each gate on the data, $d_j = 1(X g_j \geq 0)$, packed.

    **Arguments:**

    - `X`: data, one example a row.
    - `G`: gates, one a column, with as many rows as `X` has columns.
    - `strict`: use $1(X g_j > 0)$, which differs where $x_i^\top g_j = 0$ exactly.

    **Returns:** `PackedPatterns` of shape `(n, m)`.

    The product is computed block by block, in float32 at full precision (float64 if an input is), and
    packed at once: neither it nor the 0/1 matrix is ever in memory. Examples and gates of any size
    will do (each is scaled by a power of two, which rounds nothing and changes no sign; but subnormal
    numbers are 0 to the compiler). Whether a product of exactly 0 comes out as 0 is a matter of
    rounding, unless the numbers are small integers.

    **Gradient:** none; patterns are piecewise constant.

    **Raises:** `ValueError` for shapes that do not fit, and for NaN or infinity in `X` or `G` (under
    `jit`: see `jaxinfo.value_checks`).

    **Cost:** the product $O(ndm)$; memory $nm/8$ bytes.

    >>> import jax.numpy as jnp
    >>> X = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> activation_patterns(X, jnp.array([[1.0, -1.0], [1.0, 0.0]])).unpack(int)
    Array([[1, 0],
           [1, 1],
           [0, 1]], dtype=int32)
    """
    X, G = as_data_and_gates(X, G)
    if X.shape[1] != G.shape[0]:
        raise ValueError(
            f"`X` has {X.shape[1]} columns and `G` {G.shape[0]} rows; each gate needs one entry for "
            "each column of `X`."
        )
    return _patterns(X, G, strict)


@public
def compute_activation_patterns(
    X: Real[ArrayLike, "n d"],
    G: Real[ArrayLike, "gate_dim m"],
    filter_duplicates: bool = True,
    filter_zero: bool = True,
    bias: bool = False,
    active_proportion: float | None = None,
    *,
    strict: bool = False,
    dtype: jax.typing.DTypeLike | None = None,
) -> tuple[Shaped[Array, "n p"], Float[Array, "d_out p"]]:
    r"""Activation patterns and the gates that generate them, $D = 1(X G \geq 0)$.

    **Arguments:**

    - `X`: data `(n, d)`, one example a row.
    - `G`: gates `(d, m)`, one a column.
    - `filter_duplicates`: keep the first gate of each distinct pattern.
    - `filter_zero`: drop gates that are active on no example. The two filters are independent.
    - `bias`: gates act on $[X, 1]$. The constant column may be the last of `X` or be missing, and so
        may the last row of `G`: a column of ones is added when `X` has none, a row of zeros when `G`
        has none. A constant other than 1 is kept as it is; 0 cannot carry a bias.
    - `active_proportion`: set each gate's bias to minus the `1 - active_proportion` quantile of its
        products (linear interpolation, divided by the constant of `X`), so that it is active on that
        part of the examples. Needs `bias=True`, and gates with no bias of their own.
    - `strict`: use $1(XG > 0)$.
    - `dtype`: of `D`; by default that of the product. With `bool` the call takes a quarter of the
        memory and less than half of the time, which is mostly that of writing `D`.

    **Returns:** `(D, G)`: the patterns `(n, p)` as 0.0 and 1.0, and the gates `(d, p)`, with the bias
    in the last row if `bias`. Columns keep their order in `G`. `D` is what the returned gates give:
    where an example lies exactly on the quantile, the bias is moved by a few units of rounding so
    that the example stays on its side (active, or inactive if `strict`).

    **Gradient:** none through `D`, which is piecewise constant.

    **Raises:** `ValueError` for shapes that do not fit, NaN or infinity, a constant column of zeros,
    or an `active_proportion` outside [0, 1], without `bias`, or with gates that have a bias.
    `TypeError` under `jit` with a filter, as the number of columns is then unknown: use
    `activation_patterns` and `unique_patterns(..., size=)` there.

    **Source:** `scnn.activations` of Mishkin, Sahiner and Pilanci (2022), *Fast convex optimization
    for two-layer ReLU networks*, ICML, https://arxiv.org/abs/2202.01331.

    >>> import jax.numpy as jnp
    >>> X = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 2.0]])
    >>> D, G = compute_activation_patterns(X, jnp.array([[1.0, 2.0, -1.0, -3.0], [-1, -2, -1, 2]]))
    >>> D  # the second gate repeats the first, the third is never active
    Array([[1., 0.],
           [0., 1.],
           [0., 1.]], dtype=float32)
    >>> G
    Array([[ 1., -3.],
           [-1.,  2.]], dtype=float32)
    """
    X, G = as_data_and_gates(X, G)
    if active_proportion is not None:
        if not bias:
            raise ValueError("`active_proportion` works through the bias; it needs `bias=True`.")
        if not 0 <= active_proportion <= 1:
            raise ValueError(f"`active_proportion` must be in [0, 1]; got {active_proportion}.")
    if bias:
        X, G = _with_bias(X, G)
    if active_proportion is not None:
        G = _active_on(X, G, float(active_proportion), strict)
    patterns = activation_patterns(X, G, strict=strict)
    if filter_duplicates or filter_zero:
        kept = _kept(patterns, filter_duplicates, filter_zero)
        if len(kept) < patterns.p:
            patterns, G = patterns[kept], G[:, kept]
    return patterns.unpack(X.dtype if dtype is None else dtype), G


def as_data_and_gates(X: Any, G: Any) -> tuple[Float[Array, "n d"], Float[Array, "gate_dim m"]]:
    """Both as finite matrices of one floating dtype, float32 or wider."""
    X, G = jnp.asarray(X), jnp.asarray(G)
    dtype = jnp.promote_types(jnp.result_type(X, G), jnp.float32)
    for name, matrix in (("X", X), ("G", G)):
        if matrix.ndim != 2:
            raise ValueError(f"`{name}` must be a matrix; got shape {matrix.shape}.")
        if jnp.issubdtype(matrix.dtype, jnp.complexfloating):
            raise TypeError(f"`{name}` must hold real numbers; got {matrix.dtype}.")
    X, G = finite(X=X.astype(dtype), G=G.astype(dtype))
    return X, G


def finite(**matrices: Float[Array, "..."]) -> list[Float[Array, "..."]]:
    """The arrays, if they are; an error that names the first which is not."""
    return [
        checked(matrix, bad, f"`{name}` must be finite; it holds NaN or infinity.")
        for (name, matrix), bad in zip(
            matrices.items(), _not_finite(*matrices.values()), strict=True
        )
    ]


@jax.jit
def _not_finite(*matrices: Float[Array, "..."]) -> list[Bool[Array, ""]]:
    return [~jnp.all(jnp.isfinite(matrix)) for matrix in matrices]


@functools.partial(jax.jit, static_argnames="strict")
def _patterns(X: Float[Array, "n d"], G: Float[Array, "d m"], strict: bool) -> PackedPatterns:
    n, m = X.shape[0], G.shape[1]
    if n == 0 or m == 0:
        return PackedPatterns(jnp.zeros((m, words_for(n)), jnp.uint32), n)

    def blocked(products: int, X: Array, G: Array) -> Array:
        # Wide blocks are the faster ones, but the bits of a block of gates are in memory twice.
        blocks = -(-m // max(_FEW_GATES, min(2**30 // n, _MANY_GATES)))
        columns = -(-m // blocks)
        rows = max(1, products // columns // WORD) * WORD
        by_block = jnp.pad(G, ((0, 0), (0, blocks * columns - m))).reshape(-1, blocks, columns)

        def block(gates: Array) -> Array:
            gates = _near_one(gates, axis=0)
            return packed_over_examples(
                lambda x: _product(_near_one(x, axis=1), gates), X, rows, strict
            )

        return jax.lax.map(block, jnp.moveaxis(by_block, 1, 0)).reshape(-1, words_for(n))[:m]

    def words(X: Array, G: Array) -> Array:
        return jax.lax.platform_dependent(
            X,
            G,
            cpu=functools.partial(blocked, _CPU_BLOCK),
            default=functools.partial(blocked, _ACCELERATOR_BLOCK),
        )

    return PackedPatterns(undivided(words, X, G), n)


def _near_one(matrix: Float[Array, "rows columns"], axis: int) -> Float[Array, "rows columns"]:
    """Scaled along the axis by powers of two, so that no product overflows, or vanishes and with it
    its sign."""
    if matrix.shape[axis] == 0:
        return matrix
    _, exponent = jnp.frexp(jnp.max(jnp.abs(matrix), axis=axis, keepdims=True))
    limits = jnp.finfo(matrix.dtype)
    # Looked up, as `exp2` rounds. From the exponent of the smallest number to that which still has
    # an opposite.
    first, last = limits.minexp + 1, limits.maxexp - 2
    powers = jnp.asarray(2.0 ** -np.arange(first, last + 1.0), matrix.dtype)
    return matrix * powers[jnp.clip(exponent, first, last) - first]


def _product(X: Float[Array, "n d"], G: Float[Array, "d m"]) -> Float[Array, "n m"]:
    # Accelerators would round the factors to 10 or 8 bits, and with them the side of a boundary.
    return jnp.matmul(X, G, precision=jax.lax.Precision.HIGHEST)


def _with_bias(X: Array, G: Array) -> tuple[Float[Array, "n d"], Float[Array, "d m"]]:
    """Find or add the constant column of `X` and the bias row of `G`."""
    difference = X.shape[1] - G.shape[0]
    has_constant = difference == 1 or (difference == 0 and _ends_in_constant(X))
    if difference not in (-1, 0, 1):
        raise ValueError(
            "With `bias=True`, `G` must have as many rows as `X` has columns, or one more or less "
            f"where one of them carries the bias; got {X.shape[1]} columns and {G.shape[0]} rows."
        )
    if has_constant:
        last = X[:, -1:]
        X = checked(
            X,
            ~_is_constant(last) | jnp.any(last == 0),
            "With `bias=True`, the last column of `X` was taken for the one that carries the bias, "
            "and must be a constant other than 0. Append a column of ones to `X` and a row to `G` "
            "(zeros, or the biases).",
        )
    else:
        X = jnp.pad(X, ((0, 0), (0, 1)), constant_values=1)
    if G.shape[0] < X.shape[1]:
        G = jnp.concatenate([G, jnp.zeros_like(G, shape=(1, G.shape[1]))])
    return X, G


def _ends_in_constant(X: Array) -> bool:
    if X.shape[0] == 0 or X.shape[1] == 0:
        return False
    if is_traced(X):
        raise TypeError(
            "Under `jit`, with `bias=True` and as many rows in `G` as columns in `X`, it is unknown "
            "whether the last column of `X` is the constant one. Add a column of ones to `X` "
            "yourself, and a last row to `G`, and pass `bias=False`."
        )
    return bool(_is_constant(X[:, -1:]))


def _is_constant(column: Float[Array, "n 1"]) -> Bool[Array, ""]:
    return undivided(lambda column: jnp.all(column == column[:1]), column)


@functools.partial(jax.jit, static_argnames=("proportion", "strict"))
def _bias_for(X: Array, G: Array, proportion: float, strict: bool) -> Float[Array, " m"]:
    n, constant = X.shape[0], X[0, -1]
    # The quantile's place among the sorted products; 0.8 * 10 must not miss the eighth.
    place = round((1 - proportion) * (n - 1), 9)
    below, part = int(place), place - int(place)

    def block(gates: Float[Array, "d columns"]) -> Float[Array, " columns"]:
        products = _product(X, gates)
        ordered = jnp.sort(products.T, axis=1)
        quantile = ordered[:, below]
        if part:
            quantile = quantile + part * (ordered[:, below + 1] - quantile)
        bias = -quantile / constant
        size = jnp.max(_product(jnp.abs(X), jnp.abs(gates)), axis=0) + jnp.abs(quantile)
        eps = jnp.finfo(X.dtype).eps
        # An example on the quantile would fall on either side when the product with the new gate is
        # rounded. Integers are not rounded, unless they are large.
        on_quantile = jnp.any(jnp.abs(products - quantile) <= 8 * eps * size, axis=0)
        integers = jnp.all(X == jnp.round(X)) & jnp.all(gates == jnp.round(gates), axis=0)
        exact = integers & (bias == jnp.round(bias)) & (size * eps < 1)
        nudge = (-8 if strict else 8) * eps * size / constant
        return jnp.where(on_quantile & ~exact, bias + nudge, bias)

    columns = min(G.shape[1], _FEW_GATES)
    padded = jnp.pad(G, ((0, 0), (0, -G.shape[1] % columns)))
    by_block = jnp.moveaxis(padded.reshape(G.shape[0], -1, columns), 1, 0)
    return jax.lax.map(block, by_block).reshape(-1)[: G.shape[1]]


def _active_on(X: Array, G: Array, proportion: float, strict: bool) -> Float[Array, "d m"]:
    """The gates with biases that make each active on that proportion of the examples."""
    if X.shape[0] == 0 or G.shape[1] == 0:
        return G
    G = checked(
        G,
        jnp.any(G[-1] != 0),
        "`active_proportion` sets the bias of each gate: the last row of `G` must be zeros, or be "
        "left out.",
    )
    return G.at[-1].set(undivided(_bias_for, X, G, proportion, strict))


def _kept(patterns: PackedPatterns, duplicates: bool, zero: bool) -> np.ndarray:
    """The columns that pass the filters, in their order."""
    if is_traced(patterns.words):
        raise TypeError(
            "`compute_activation_patterns` with a filter returns as many columns as it finds, which "
            "is unknown under `jit`. Use `activation_patterns` and `unique_patterns(..., size=)`, "
            "or pass `filter_duplicates=False, filter_zero=False`."
        )
    return np.flatnonzero(_passes(patterns, duplicates, zero))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _passes(patterns: PackedPatterns, duplicates: bool, zero: bool) -> Bool[Array, " p"]:
    passes = jnp.ones(patterns.p, bool)
    if duplicates:
        passes &= pattern_slots(patterns).is_first
    if zero:
        passes &= ~patterns.never_active
    return passes
