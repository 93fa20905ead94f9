"""Signs of determinants without rounding: floating point where it is certain, integers where not.

A floating-point number is an integer times a power of two, and scaling a row by a positive number
changes no sign. So every matrix of data is, for our purposes, a matrix of integers.
"""

import itertools
import math

import numpy as np
from jaxtyping import Float, Int8, Int64, Real, Shaped

Exact = Shaped[np.ndarray, "rows columns"]  # of dtype object: Python integers of any size

_MANTISSA = 53


def primitive_rows(X: Real[np.ndarray, "rows columns"]) -> Exact:
    """Each row as integers without a common factor: the same row times a positive number."""
    rows = np.zeros(X.shape, object)
    for row, x in zip(rows, X, strict=True):
        if np.issubdtype(X.dtype, np.floating):
            fraction, exponent = np.frexp(x.astype(np.float64))
            lowest = min((int(e) for e in exponent[x != 0]), default=0)
            row[:] = [
                int(f * 2.0**_MANTISSA) << max(int(e) - lowest, 0)
                for f, e in zip(fraction, exponent, strict=True)
            ]
        else:
            row[:] = [int(value) for value in x]
        divisor = math.gcd(*row)
        if divisor > 1:
            row[:] = [value // divisor for value in row]
    return rows


def independent_columns(rows: Exact) -> list[int]:
    """A basis of the column space, the first there is, by elimination without fractions."""
    rest, pivots, previous = rows.copy(), [], 1
    for column in range(rows.shape[1]):
        done = len(pivots)
        candidates = np.flatnonzero(rest[done:, column] != 0)
        if len(candidates) == 0:
            continue
        rest[[done, done + candidates[0]]] = rest[[done + candidates[0], done]]
        pivot = rest[done, column]
        # Bareiss: the division is exact, and entries stay minors of the matrix.
        below = rest[done + 1 :]
        below[:] = (below * pivot - below[:, [column]] * rest[done]) // previous
        previous = pivot
        pivots.append(column)
        if len(pivots) == len(rows):
            break
    return pivots


class ExactSigns:
    """For subsets of `r - 1` rows of a matrix of rank `r`: on which side of it each row lies.

    The subset spans a hyperplane through the origin (if independent) with a normal $v$ whose entries
    are minors. `signs(subsets)` holds the sign of $x_i^\\top v$ for every row, exactly; a row of
    zeros says that the subset is dependent.
    """

    def __init__(self, rows: Exact):
        self.exact = rows
        rank = rows.shape[1]
        largest = max(abs(value) for value in rows.flat)
        # Sums of at most rank! products: below 2^53 every step is exact in float64.
        self.certain = math.factorial(rank) * largest**rank < 2**_MANTISSA
        scale = [0 if self.certain else max(abs(v) for v in row).bit_length() for row in rows]
        self.floats = np.array(
            [[_scaled(value, s) for value in row] for row, s in zip(rows, scale, strict=True)]
        ).reshape(rows.shape)
        # More roundings than any term goes through: conversion, products, sums of each level.
        self.tolerance = 2 * (rank * rank + 4 * rank + 8) * np.finfo(np.float64).eps

    def signs(self, subsets: Int64[np.ndarray, "n k"]) -> Int8[np.ndarray, "n rows"]:
        values = _normals(self.floats[subsets]) @ self.floats.T
        if self.certain:
            return np.sign(values).astype(np.int8)
        sizes = _normals(np.abs(self.floats[subsets]), signed=False) @ np.abs(self.floats).T
        error = self.tolerance * sizes + 1e-280  # the constant: products may underflow
        signs = np.sign(values).astype(np.int8)
        unsure = np.abs(values) <= error
        np.put_along_axis(signs, subsets, 0, axis=1)
        np.put_along_axis(unsure, subsets, False, axis=1)
        # A dependent subset has the normal 0, so every other row is unsure and gets its exact 0.
        again = np.flatnonzero(unsure.any(axis=1))
        if len(again):
            exact = _normals(self.exact[subsets[again]]) @ self.exact.T
            signs[again] = (exact > 0).astype(np.int8) - (exact < 0).astype(np.int8)
        return signs


def _scaled(value: int, bits: int) -> float:
    """`value / 2**bits`, rounded once, for a value that may be too large for a float."""
    return value / (1 << bits)


def _normals(
    rows: Float[np.ndarray, "n k r"] | Shaped[np.ndarray, "n k r"], signed: bool = True
) -> Shaped[np.ndarray, "n r"]:
    """The generalised cross product of `r - 1` rows: their minors, with alternating signs.

    Minors of the first rows, for every set of columns, from those of one row less. Without signs:
    the same sums of products with plus signs only, which bound the rounding.
    """
    n, k, r = rows.shape
    minors: dict[tuple[int, ...], np.ndarray] = {(): np.ones(n, rows.dtype)}
    for row in range(k):
        larger = {}
        for columns in itertools.combinations(range(r), row + 1):
            total = np.zeros(n, rows.dtype)
            for place, column in enumerate(columns):
                term = rows[:, row, column] * minors[columns[:place] + columns[place + 1 :]]
                total = total - term if signed and (row + place) % 2 else total + term
            larger[columns] = total
        minors = larger
    full = tuple(range(r))
    normal = [minors[full[:j] + full[j + 1 :]] for j in range(r)]
    return np.stack([-v if signed and j % 2 else v for j, v in enumerate(normal)], axis=1)
