"""Counting pairs alone: all pairs of columns of two matrices, into two-way histograms."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.info import Binning, PairHistogram

from ._harness import Case, row


def _case(bins: int, quick: bool) -> Case:
    from fast_histogram import histogram2d

    n, n_in, n_out = (20_000 if quick else 100_000), 25, 6
    rng = np.random.default_rng(0)
    x, y = rng.random((n, n_in), np.float32), rng.random((n, n_out), np.float32)
    columns = [np.ascontiguousarray(c) for c in x.T], [np.ascontiguousarray(c) for c in y.T]
    binning = Binning(bins, 0.0, 1.0)

    @jax.jit
    def count(x, y):
        # In blocks whose rows stay in the cache, as the sampled route counts.
        blocks = x.reshape(n // 10_000, 10_000, n_in), y.reshape(n // 10_000, 10_000, n_out)

        def add(histogram, block):
            return histogram.update(binning.index(block[0]), binning.index(block[1])), None

        return jax.lax.scan(add, PairHistogram.zeros(n_in, n_out, bins, bins), blocks)[0].counts

    ours = jnp.asarray(x), jnp.asarray(y)

    def peer():
        return [[histogram2d(a, b, bins, ((0, 1), (0, 1))) for b in columns[1]] for a in columns[0]]

    def check(counts, expected):
        # A value within rounding of an edge may fall on either side of it.
        differing = np.abs(np.asarray(counts) - np.asarray(expected)).sum()
        assert differing <= 1e-4 * n * n_in * n_out, differing

    updates = n * n_in * n_out
    return Case(lambda: count(*ours), peer, check, updates / 3e9, "one update a cycle at 3 GHz")


for bins in (8, 16, 64):
    row(f"pairs {bins} bins", peer="fast-histogram")(lambda quick, bins=bins: _case(bins, quick))
