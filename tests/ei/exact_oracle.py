"""Exact EI once more, another way: NumPy, long sums, no boxes, no anchors, no derivatives.

The distribution of a sum of uniforms is its Fourier series on a period that covers the whole support,
with as many terms (up to millions) as a bound on the tail asks for; where two or fewer variables matter
at all, or the terms would be too many, the polynomial of its corners in rational arithmetic.
"""

import itertools
import math
from fractions import Fraction

import numpy as np

_CHUNK = 2**22


def distribution(widths, y, tolerance=1e-14, most=2_000_000):
    """P(S <= y) for S the sum of uniforms on (-w, w); y any array."""
    y = np.asarray(y, float)
    w = np.sort(np.abs(np.asarray(widths, float)))[::-1]
    w = w[w > 0]
    if len(w) == 0:
        return (y >= 0).astype(float)
    support = w.sum()
    inside = np.abs(y) < support
    out = np.where(y >= support, 1.0, 0.0)
    if np.any(inside):
        terms = _terms(w, 2 * support, tolerance, most)
        fn = _corners if terms is None else lambda w, z: _series(w, z, terms)
        out[inside] = fn(w, y[inside])
    return out


def _terms(w, period, tolerance, most):
    """How many terms leave less than the tolerance, or None."""
    terms = 64
    while terms <= most:
        x = w * 2 * math.pi * terms / period
        power = max(int(np.sum(x > 1)), 1)
        if np.prod(1 / np.maximum(x, 1)) / (math.pi * power) < tolerance:
            return terms
        terms *= 2
    return None


def _series(w, y, terms):
    period = 2 * w.sum()
    total = 0.5 + y / period
    block = max(1, _CHUNK // max(len(y), len(w)))
    for start in range(1, terms + 1, block):
        k = np.arange(start, min(start + block, terms + 1))
        t = 2 * math.pi * k / period
        phi = np.ones(len(t))
        for x in w:
            phi *= np.sinc(x * t / math.pi)
        keep = np.abs(phi) / k > 1e-19
        total = total + np.sin(np.outer(y, t[keep])) @ (phi[keep] / (math.pi * k[keep]))
    return total


def _corners(w, y):
    """Exact in rational arithmetic, whatever the widths: 2^n corners."""
    if len(w) > 11:
        raise ValueError(f"{len(w)} widths, and the series is too slow: {w}")
    exact = [Fraction(float(x)) for x in w]
    n = len(w)
    corners = [
        (math.prod(signs), sum(s * x for s, x in zip(signs, exact, strict=True)))
        for signs in itertools.product((1, -1), repeat=n)
    ]
    scale = math.factorial(n) * math.prod(2 * x for x in exact)
    return np.array(
        [
            float(sum(s * (z + c) ** n for s, c in corners if z + c > 0) / scale)
            for z in map(Fraction, map(float, y))
        ]
    )


def column_tables(weight, bias, edges, signs, in_range, in_bins, inputs=None):
    """P(output bin | bin of input A) for each input A: an array (inputs, in_bins, out_bins).

    `edges` of the output bins before the activation, one row for each branch of that sign.
    """
    weight = np.asarray(weight, float)
    lower, upper = in_range
    radius, middle = (upper - lower) / 2, (upper + lower) / 2
    tables = []
    for a in range(len(weight)) if inputs is None else inputs:
        half = weight * radius
        centres = half[a] * ((2 * np.arange(in_bins) + 1) / in_bins - 1)
        half[a] /= in_bins
        place = bias + float(np.sum(weight * middle))
        table = 0
        for sign, row in zip(signs, edges, strict=True):
            below = (
                np.stack([distribution(half, row - place - shift).reshape(-1) for shift in centres])
                if len(row) * in_bins > 2**14
                else distribution(half, (row - place)[None] - centres[:, None])
            )
            table = table + sign * np.diff(below, axis=1)
        tables.append(np.maximum(table, 0))
    return np.array(tables)


def information(table):
    """Mutual information of a joint table in bits, and its mass per row."""
    mass = table.sum() / table.shape[0]
    if mass < 1e-13:
        return 0.0, mass
    p = table / table.sum()
    expected = p.sum(1, keepdims=True) * p.sum(0)
    seen = p > 0
    return float(np.sum(p[seen] * np.log2(p[seen] / expected[seen]))), mass
