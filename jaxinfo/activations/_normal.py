"""Where an elementwise function changes its law, and the law in each stretch: by its program.

Two programs of one normal form compute the same function but for rounding. Equal values at some points
prove nothing: a function may differ between them.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from . import _algebra as algebra
from ._algebra import Form, Frozen, NoForm
from ._formula import Formula, Step, Value

_MOST = 32  # stretches

_FUNCTIONS = {
    "exp": algebra.exp,
    "exp2": lambda u: algebra.exp(algebra.scale(u, math.log(2))),
    "expm1": lambda u: algebra.add(algebra.exp(u), algebra.ONE, -1.0),
    "log": algebra.log,
    "log1p": lambda u: algebra.log(algebra.add(u, algebra.ONE)),
    "logistic": algebra.logistic,
    "tanh": algebra.tanh,
    "erfc": lambda u: algebra.add(algebra.ONE, algebra.odd("erf")(u), -1.0),
    "neg": lambda u: algebra.scale(u, -1.0),
    "square": lambda u: algebra.power(u, 2),
    **{name: algebra.odd(name) for name in "erf sin tan sinh asin atan asinh atanh cbrt".split()},
    **{name: algebra.even(name) for name in ("cos", "cosh")},
    **{name: algebra.other(name) for name in ("sqrt", "acos", "acosh")},
    "rsqrt": lambda u: algebra.inverse(algebra.other("sqrt")(u)),
}
_ARITHMETIC = {
    "add": algebra.add,
    "sub": lambda u, v: algebra.add(u, v, -1.0),
    "mul": algebra.multiply,
    "div": lambda u, v: algebra.multiply(u, algebra.inverse(v)),
}
_SIGNS = {  # whether it holds, from the sign of the difference
    "lt": lambda s: s < 0,
    "le": lambda s: s <= 0,
    "gt": lambda s: s > 0,
    "ge": lambda s: s >= 0,
    "eq": lambda s: s == 0,
    "ne": lambda s: s != 0,
}
_LOGIC = {
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "xor": lambda a, b: a != b,
    "not": lambda a: not a,
}

Law = tuple[tuple[float, ...], tuple[float, ...], tuple[Frozen, ...]]


class _Split(Exception):
    """The stretch must be divided at a place inside."""

    def __init__(self, place: float):
        self.place = place


class _Stretch(NamedTuple):
    start: float
    stop: float
    form: Form


def normal_form(formula: Formula) -> Law | None:
    """Where the laws meet, the values there, and the laws; `None` if they cannot be told."""
    try:
        first, *others = _stretches(formula, -math.inf, math.inf)
        places, values, laws = [], [], [algebra.frozen(first.form)]
        for stretch in others:
            law = algebra.frozen(stretch.form)
            if law != laws[-1]:
                there = _Law(stretch.start, stretch.start).of(formula)
                places.append(stretch.start)
                values.append(algebra.value_at(there, stretch.start))
                laws.append(law)
    except NoForm:
        return None
    places, values = (tuple(algebra.rounded(x) + 0.0 for x in ends) for ends in (places, values))
    return places, values, tuple(laws)


def _stretches(formula: Formula, start: float, stop: float) -> list[_Stretch]:
    pending, found = [(start, stop)], []
    while pending:
        start, stop = pending.pop()
        try:
            found.append(_Stretch(start, stop, _Law(start, stop).of(formula)))
        except _Split as split:
            pending += [(split.place, stop), (start, split.place)]
        if len(found) + len(pending) > _MOST:
            raise NoForm
    return found


class _Law:
    """What the values of a formula are for a variable strictly between two places, or at one."""

    def __init__(self, start: float, stop: float):
        self.start, self.stop = start, stop

    def of(self, formula: Formula) -> Form:
        known: list[Form | bool] = [algebra.VARIABLE]

        def read(value: Value) -> Form | bool:
            if isinstance(value, int):
                return known[value]
            return bool(value) if value.dtype == bool else algebra.constant(float(value))

        for step in formula.steps:
            known.append(self._apply(step, [read(value) for value in step.inputs]))
        return _as_form(read(formula.result))

    def _apply(self, step: Step, operands: list) -> Form | bool:
        name = step.name
        if name in _LOGIC and all(isinstance(u, bool) for u in operands):
            return _LOGIC[name](*operands)
        if name == "select_n":
            which, *cases = operands
            if isinstance(which, bool):
                return cases[which]
            raise NoForm
        if name == "convert_element_type":
            return self._converted(step, operands[0])
        forms = [_as_form(u) for u in operands]
        if name in _SIGNS:
            return _SIGNS[name](self._sign(algebra.add(forms[0], forms[1], -1.0)))
        return self._number(step, forms)

    def _number(self, step: Step, forms: list[Form]) -> Form:
        name = step.name
        if name in _ARITHMETIC:
            return _ARITHMETIC[name](*forms)
        if name in ("max", "min"):
            above = self._sign(algebra.add(forms[0], forms[1], -1.0)) > 0
            return forms[0] if above == (name == "max") else forms[1]
        if name == "clamp":
            low, u, high = forms
            if self._sign(algebra.add(u, low, -1.0)) < 0:
                return low
            return high if self._sign(algebra.add(u, high, -1.0)) > 0 else u
        if name in ("abs", "sign"):
            sign = float(self._sign(forms[0]))
            return algebra.scale(forms[0], sign) if name == "abs" else algebra.constant(sign)
        if name == "integer_pow":
            return algebra.power(forms[0], step.params["y"])
        if name == "pow" and set(forms[1]) <= {()} and float(forms[1].get((), 0)).is_integer():
            return algebra.power(forms[0], int(forms[1].get((), 0)))
        if name not in _FUNCTIONS:
            raise NoForm
        return _FUNCTIONS[name](forms[0])

    def _converted(self, step: Step, u: Form | bool) -> Form | bool:
        to = np.dtype(step.params["new_dtype"])
        if isinstance(u, bool) or jnp.issubdtype(to, jnp.floating):
            return u if to.kind == "b" else _as_form(u)
        if set(u) <= {()} and float(u.get((), 0)).is_integer():
            return bool(u) if to.kind == "b" else u
        raise NoForm

    def _sign(self, u: Form) -> int:
        """The sign of a form all over the stretch."""
        (variable,) = algebra.VARIABLE
        slope, level = u.get(variable, 0.0), u.get((), 0.0)
        if not set(u) <= {variable, ()}:
            raise NoForm
        if slope == 0 or math.isinf(level):
            return int(np.sign(level))
        place = -level / slope
        if self.start == self.stop and math.isclose(place, self.start, rel_tol=1e-12):
            return 0
        if self.start < place < self.stop:
            raise _Split(place)
        return int(np.sign(slope)) if place <= self.start else -int(np.sign(slope))


def _as_form(u: Form | bool) -> Form:
    return algebra.constant(float(u)) if isinstance(u, bool) else u
