"""Sobol points: binary digits mixed so that every part of the cube gets its share."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ._intervention import BLOCK, UnitDraw

_WORD = 32
_MOST_DEGREE = 13  # of a primitive polynomial: the search for those of 14 would take seconds
# The free initial numbers are drawn from this seed, one of the best of 600: for 2**10 points in the
# planes of the first 12 (48) axes, the quality parameter t is 1.8 (2.7) on average. Tables found by
# longer searches reach 1.8 (2.5).
_SEED = 112


def sobol_points(key: PRNGKeyArray, dimension: int) -> UnitDraw:
    r"""A Sobol sequence, scrambled at random.

    Coordinate $j$ of point $i$ has the binary digits $L_j C_j \, \mathrm{digits}(i) + \delta_j$
    modulo 2. Of $C_j$ the columns are the direction numbers of the $j$-th primitive polynomial;
    $L_j$ is a random lower triangular matrix with ones on its diagonal, and $\delta_j$ a random
    shift, so each point alone is uniform. In each coordinate, any $2^m$ points that start at a
    multiple of $2^m$ lie one in each of $2^m$ equal intervals.

    **Raises:** `ValueError` above 1111 dimensions.

    **Source:** Sobol (1967), USSR Computational Mathematics and Mathematical Physics 7:86; Bratley
    and Fox (1988), *Algorithm 659*, ACM Transactions on Mathematical Software 14:88, for the
    recurrence; Matousek (1998), *On the L2-discrepancy for anchored boxes*, Journal of Complexity
    14:527, for the scramble.
    """
    matrix_key, shift_key = jr.split(key)
    directions = _scrambled(matrix_key, direction_numbers(dimension))
    shift = jr.bits(shift_key, (dimension,), jnp.uint32)
    dtype = jnp.result_type(float)
    bits = min(_WORD, jnp.finfo(dtype).nmant + 1)

    def draw(block: Int[Array, ""]) -> Float[Array, "block dimension"]:
        number = (block * BLOCK + jnp.arange(BLOCK)).astype(jnp.uint32)[:, None]
        position = jnp.broadcast_to(shift, (BLOCK, dimension))
        for digit in range(_WORD):
            position ^= jnp.where((number >> digit) & 1 == 1, directions[:, digit], 0)
        return (position >> (_WORD - bits)).astype(dtype) * 2.0**-bits

    return draw


def _scrambled(key: PRNGKeyArray, directions: np.ndarray) -> Array:
    """Each coordinate's direction numbers times a random lower triangular matrix."""
    one = jnp.uint32(1) << jnp.arange(_WORD - 1, -1, -1, dtype=jnp.uint32)  # first digit first
    row = jr.bits(key, (directions.shape[0], _WORD), jnp.uint32)
    row = (row & ~(one | (one - 1))) | one
    met = jax.lax.population_count(row[:, :, None] & jnp.asarray(directions)[:, None, :])
    return jnp.sum((met & 1) * one[:, None], axis=1, dtype=jnp.uint32)


@functools.lru_cache
def direction_numbers(dimension: int) -> np.ndarray:
    r"""The columns of each generating matrix, as words whose highest bit is the first digit.

    Initial numbers are drawn again until no plane is left uneven by its first digits: of $2^m$
    points, $m \ge 8$ and no less than the degrees, each of 4 x 4 squares of any plane holds as many.
    """
    random = np.random.PCG64(_SEED)
    matrices = [[1 << (_WORD - 1 - k) for k in range(_WORD)]]  # the first axis: digits reversed
    used = _first_digits(matrices[0])
    for polynomial in _primitive_polynomials(dimension - 1):
        degree = polynomial.bit_length() - 1
        early = (1 << max(8, degree)) - 1
        taken = {0} | {digits & early for digits in used}
        while True:
            matrix = _generating_matrix(polynomial, random.random_raw(degree).tolist())
            digits = _first_digits(matrix)
            if not any(d & early in taken for d in digits):
                break
        matrices.append(matrix)
        used += digits
    return np.array(matrices, np.uint32)


def _generating_matrix(polynomial: int, free: list[int]) -> list[int]:
    """The columns that follow from the polynomial and as many 64-bit words as its degree."""
    degree = len(free)
    columns = []
    for k, word in enumerate(free):
        last = _WORD - 1 - k  # column k has k free digits, then a 1, then zeros
        columns.append((word >> _WORD >> last | 1) << last)
    for k in range(degree, _WORD):
        word = columns[k - degree] ^ (columns[k - degree] >> degree)
        for i in range(1, degree):
            if polynomial >> (degree - i) & 1:
                word ^= columns[k - i]
        columns.append(word)
    return columns


def _first_digits(columns: list[int]) -> list[int]:
    """The first row of a matrix, its second, and their sum, bit k that of column k."""
    rows = (
        sum((word >> (_WORD - 1 - row) & 1) << k for k, word in enumerate(columns))
        for row in range(2)
    )
    first, second = rows
    return [first, second, first ^ second]


def _primitive_polynomials(count: int) -> list[int]:
    """The first primitive polynomials over GF(2) by degree, bit $k$ the coefficient of $x^k$."""
    found: list[int] = []
    for degree in range(1, _MOST_DEGREE + 1):
        if len(found) >= count:
            break
        candidates = np.arange(2**degree + 1, 2 ** (degree + 1), 2)
        order = np.zeros_like(candidates)  # of x, modulo each candidate; 0 until it is known
        power = np.ones_like(candidates)
        for exponent in range(1, 2**degree):
            power <<= 1
            power = np.where(power >> degree & 1, power ^ candidates, power)
            order = np.where((order == 0) & (power == 1), exponent, order)
        found += candidates[order == 2**degree - 1].tolist()
    if len(found) < count:
        raise ValueError(
            f"Sobol points have at most {len(found) + 1} dimensions here; got {count + 1} input "
            "neurons. Use `points='lattice'` or `points='random'`."
        )
    return found[:count]
