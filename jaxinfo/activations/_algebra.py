r"""Sums of products of powers, in one way of writing for each.

A *form* maps products to their coefficients; a product is a set of powers of *atoms*: the variable, a
function of a form, or a sum under a negative power. So two programs that differ by the rules of algebra
have one form. Beyond these rules: $\tanh$ and the logistic function are written by the exponential of a
negative multiple, odd functions without a minus sign inside.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

DIGITS = 6  # of a coefficient: what single precision keeps through a few operations
_MOST = 64  # products in a form

Atom = tuple[str, Any]  # a name, and what it is a function of, frozen
Product = tuple[tuple[Atom, int], ...]
Form = dict[Product, float]
Frozen = tuple[tuple[Product, float], ...]


class NoForm(Exception):
    """What is written in another way than forms can say."""


def rounded(c: float) -> float:
    return float(f"{c:.{DIGITS - 1}e}")


def frozen(u: Form) -> Frozen:
    """The form as a key: coefficients to six digits, in one order."""
    return tuple(sorted(((m, rounded(c)) for m, c in u.items()), key=repr))


def constant(c: float) -> Form:
    if math.isnan(c):
        raise NoForm
    return {(): float(c)} if c else {}


VARIABLE: Form = {((("x", None), 1),): 1.0}
ONE = constant(1.0)


def add(u: Form, v: Form, factor: float = 1.0) -> Form:
    """$u + \\text{factor} \\cdot v$; what cancels but for rounding is 0."""
    found = dict(u)
    for m, c in v.items():
        old = found.pop(m, 0.0)
        new = old + factor * c
        if math.isinf(new) or abs(new) > 1e-12 * max(abs(old), abs(factor * c)):
            found[m] = new
    if len(found) > _MOST:
        raise NoForm
    return found


def scale(u: Form, factor: float) -> Form:
    return add({}, u, factor)


def multiply(u: Form, v: Form) -> Form:
    found: Form = {}
    for m, c in u.items():
        for n, d in v.items():
            powers = dict(m)
            for atom, power in n:
                powers[atom] = powers.get(atom, 0) + power
            product = sorted(((a, p) for a, p in powers.items() if p), key=repr)
            found = add(found, {tuple(product): c * d})
    return found


def power(u: Form, n: int) -> Form:
    if abs(n) > 16:
        raise NoForm
    base, found = u if n >= 0 else inverse(u), ONE
    for _ in range(abs(n)):
        found = multiply(found, base)
    return found


def inverse(u: Form) -> Form:
    if not u:
        raise NoForm
    if len(u) == 1:
        ((m, c),) = u.items()
        return {tuple((atom, -p) for atom, p in m): 1 / c}
    first = min(u, key=repr)
    lead = u[first]
    whole = scale(u, 1 / lead)
    rest = _exponent(add(whole, ONE, -1.0)) if first == () else None
    if rest is not None and is_negative(scale(rest, -1.0)):
        # 1 / (1 + e^u) = 1 - 1 / (1 + e^-u)
        return scale(add(ONE, inverse(add(ONE, exp(scale(rest, -1.0)))), -1.0), 1 / lead)
    return {((("sum", frozen(whole)), -1),): 1 / lead}


def _exponent(u: Form) -> Form | None:
    """The exponent of a form that is the exponential of one."""
    if len(u) == 1:
        ((m, c),) = u.items()
        if c == 1 and len(m) == 1 and m[0][0][0] == "exp" and m[0][1] == 1:
            return dict(m[0][0][1])
    return None


def is_negative(u: Form) -> bool:
    """Whether the first coefficient is, not counting the constant: of a form and its negative one."""
    first = min((m for m in u if m), key=repr, default=())
    return u.get(first, 0.0) < 0


def exp(u: Form) -> Form:
    if 0 < abs(u.get((), 0.0)) < 30:  # a factor that rounding does not make 0
        return scale(exp(add(u, constant(u[()]), -1.0)), math.exp(u[()]))
    return _atom("exp", u) if u else ONE


def log1p_exp(u: Form) -> Form:
    """$\\ln(1 + e^u)$"""
    if is_negative(u):
        return _atom("log", add(ONE, exp(u)))
    return add(u, _atom("log", add(ONE, exp(scale(u, -1.0)))))


def log(u: Form) -> Form:
    rest = _exponent(add(u, ONE, -1.0))
    if rest is not None:
        return log1p_exp(rest)
    inside = _exponent(u)
    return _atom("log", u) if inside is None else inside


def logistic(u: Form) -> Form:
    return inverse(add(ONE, exp(scale(u, -1.0))))


def tanh(u: Form) -> Form:
    return add(scale(logistic(scale(u, 2.0)), 2.0), ONE, -1.0)


def value_at(u: Form, x: float) -> float:
    """The value of a form for a number."""
    with np.errstate(all="ignore"):
        total = sum((c * math.prod(_value(a, x) ** p for a, p in m) for m, c in u.items()), 0.0)
    if math.isnan(total):
        raise NoForm
    return float(total)


def _value(atom: Atom, x: float) -> np.float64:
    name, inside = atom
    if name == "x":
        return np.float64(x)
    value = np.float64(value_at(dict(inside), x))
    return value if name == "sum" else np.float64(_NUMPY.get(name, math.erf)(value))


_NUMPY = {
    **{name: getattr(np, name) for name in "exp log sin cos tan sinh cosh sqrt cbrt".split()},
    **{f"a{name}": getattr(np, f"arc{name}") for name in "sin cos tan sinh cosh tanh".split()},
}


def even(name: str) -> Callable[[Form], Form]:
    return lambda u: _atom(name, scale(u, -1.0) if is_negative(u) else u)


def odd(name: str) -> Callable[[Form], Form]:
    return lambda u: scale(_atom(name, scale(u, -1.0)), -1.0) if is_negative(u) else _atom(name, u)


def other(name: str) -> Callable[[Form], Form]:
    return lambda u: _atom(name, u)


def _atom(name: str, u: Form) -> Form:
    if any(map(math.isinf, u.values())):
        raise NoForm
    return {(((name, frozen(u)), 1),): 1.0}
