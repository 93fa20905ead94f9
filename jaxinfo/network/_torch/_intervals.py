"""Intervals of numbers, and what torch's operators make of them.

A rule gets the intervals of an operator's arguments in order, and how many entries of the first one
go into one of the result (for sums and the like). Rounding of floating-point numbers is of no account
here: what is asked is whether 32 bits hold a whole number.
"""

import math
from collections.abc import Callable, Iterable

Interval = tuple[float | int, float | int]
"""The smallest and the largest number; whole ones are Python's integers, which are exact."""

ANY: Interval = (-math.inf, math.inf)
TRUTH: Interval = (0, 1)
LARGEST = 2**31 - 1
"""No array of a 32-bit JAX has more entries."""

Rule = Callable[[list[Interval], int], Interval]


def hull(intervals: Iterable[Interval]) -> Interval:
    lows, highs = zip(*intervals, strict=True)
    return min(lows), max(highs)


def meet(a: Interval, b: Interval) -> Interval:
    """What lies in both; in the second if nothing does."""
    low, high = max(a[0], b[0]), min(a[1], b[1])
    return (low, high) if low <= high else b


def plus(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def minus(a: Interval) -> Interval:
    return -a[1], -a[0]


def times(a: Interval, b: Interval) -> Interval:
    ends = [x * y if x and y else 0 for x in a for y in b]
    return min(ends), max(ends)


def _scaled(a: list[Interval]) -> Interval:
    """The second argument of a sum times its factor, if it has one."""
    return times(a[1], a[2]) if len(a) > 2 else a[1]


def _product(a: list[Interval], n: int) -> Interval:
    size = _size(a[0])
    largest = size if size <= 1 else math.inf if n > 64 else size**n
    return (-largest if a[0][0] < 0 else 0), largest


def _power(a: list[Interval], n: int) -> Interval:
    (low, high), (least, most) = a
    if least < 0 or most > 64:
        return ANY
    largest = max(1, _size(a[0])) ** int(most)
    return (-largest if low < 0 else 0), largest


def _size(a: Interval) -> float | int:
    return max(abs(a[0]), abs(a[1]))


def _bits(a: list[Interval], n: int) -> Interval:
    low, high = hull(a)
    if math.isinf(low) or math.isinf(high):
        return ANY
    span = 1 << max(int(high).bit_length(), int(low).bit_length())
    return (0 if low >= 0 else -span), span - 1


def _bits_in_both(a: list[Interval], n: int) -> Interval:
    bounds = [high for low, high in a if low >= 0]
    return (0, min(bounds)) if bounds else _bits(a, n)


def _shifted(a: list[Interval], n: int) -> Interval:
    least, most = a[1]
    return times(a[0], (0, 2 ** int(most))) if least >= 0 and most < 64 else ANY


def _remainder(a: list[Interval], n: int) -> Interval:
    """With the sign of the divisor."""
    low, high = a[1]
    return min(0, low), max(0, high)


def _fmod(a: list[Interval], n: int) -> Interval:
    """With the sign of the dividend, and no larger than either."""
    size = min(_size(a[0]), _size(a[1]))
    return (-size if a[0][0] < 0 else 0), (size if a[0][1] > 0 else 0)


def _quotient(a: list[Interval], n: int) -> Interval:
    """Of whole numbers, whose divisor is one at least in size; of a divisor of one sign."""
    if a[1][0] < 0 < a[1][1] or 0 in a[1]:
        return (-_size(a[0]), _size(a[0])) if all(isinstance(x, int) for x in a[1]) else ANY
    if math.isinf(_size(a[0])):
        return ANY
    ends = [x / y for x in a[0] for y in a[1]]
    return math.floor(min(ends)) - 1, math.ceil(max(ends)) + 1


def _at_least(a: list[Interval], n: int) -> Interval:
    return max(a[0][0], a[1][0]), max(a[0][1], a[1][1])


def _at_most(a: list[Interval], n: int) -> Interval:
    return min(a[0][0], a[1][0]), min(a[0][1], a[1][1])


def _range(low: float | int, high: float | int) -> Rule:
    return lambda a, n: (low, high)


# Right modulo any power of two for operands that are.
MODULAR: dict[str, Rule] = {
    "add": lambda a, n: plus(a[0], _scaled(a)),
    "sub": lambda a, n: plus(a[0], minus(_scaled(a))),
    "rsub": lambda a, n: plus(a[1], minus(times(a[0], a[2]) if len(a) > 2 else a[0])),
    "mul": lambda a, n: times(a[0], a[1]),
    "neg": lambda a, n: minus(a[0]),
    "square": lambda a, n: _power([a[0], (2, 2)], n),
    "pow": _power,
    "sum": lambda a, n: times(a[0], (0, n)),
    "cumsum": lambda a, n: times(a[0], (0, n)),
    "trace": lambda a, n: times(a[0], (0, n)),
    "prod": _product,
    "cumprod": _product,
    "bitwise_not": lambda a, n: plus(minus(a[0]), (-1, -1)),
    **dict.fromkeys(("bitwise_and", "__and__"), _bits_in_both),
    **dict.fromkeys(("bitwise_or", "__or__", "bitwise_xor", "__xor__"), _bits),
    **dict.fromkeys(("bitwise_left_shift", "__lshift__"), _shifted),
    **dict.fromkeys(
        ("matmul", "mm", "bmm", "mv", "dot", "vdot"), lambda a, n: times(times(a[0], a[1]), (0, n))
    ),
    **dict.fromkeys(
        """linear einsum addmm addmv baddbmm addbmm addr scatter_add index_add""".split(),
        _range(*ANY),
    ),
}

# The values themselves are needed.
READING: dict[str, Rule] = {
    "remainder": _remainder,
    "fmod": _fmod,
    "floor_divide": _quotient,
    "div": _quotient,
    "abs": lambda a, n: (0, _size(a[0])),
    "clamp": lambda a, n: _at_most([_at_least(a, n), a[2]], n),
    "clamp_min": _at_least,
    "clamp_max": _at_most,
    "hardtanh": lambda a, n: a[1] if len(a) < 3 else (a[1][0], a[2][1]),
    "relu": lambda a, n: _at_least([a[0], (0, 0)], n),
    "maximum": _at_least,
    "minimum": _at_most,
    **dict.fromkeys(("bitwise_right_shift", "__rshift__"), lambda a, n: hull([a[0], (-1, 0)])),
    **dict.fromkeys("floor ceil round trunc".split(), lambda a, n: plus(a[0], (-1, 1))),
    **dict.fromkeys("sigmoid hardsigmoid softmax _softmax _safe_softmax".split(), _range(0, 1)),
    **dict.fromkeys("tanh sin cos erf sign sgn".split(), _range(-1, 1)),
    "relu6": _range(0, 6),
    "gcd": lambda a, n: (0, max(map(_size, a))),
    **dict.fromkeys(
        "argmax argmin argsort bucketize searchsorted count_nonzero".split(), lambda a, n: (0, n)
    ),
    "arange": lambda a, n: hull([(0, 0), *a[:2]] if len(a) == 1 else a[:2]),
    "full": lambda a, n: a[1],
    "scalar_tensor": lambda a, n: a[0],
    **dict.fromkeys("zeros zeros_like new_zeros empty empty_like new_empty".split(), _range(0, 0)),
    **dict.fromkeys("ones ones_like new_ones".split(), _range(1, 1)),
    "eye": _range(0, 1),
}
