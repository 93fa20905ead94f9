"""Messages and checks: what was expected, what came, what to do."""

import contextlib
import difflib
import importlib
import math
import operator
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import equinox as eqx
from jaxtyping import Array, Bool

from ._kinds import MOST
from ._tracing import is_traced

T = TypeVar("T")

_traced_checks = False


@contextlib.contextmanager
def value_checks(enabled: bool = True) -> Iterator[None]:
    """The one switch for checks of *values* (NaN weights, an empty range) inside `jit`.

    Called eagerly, jaxinfo always checks values and raises `ValueError`. While tracing, a value is
    unknown, and a check has to be compiled into the program, where it costs a call back to the
    host, cannot be exported for several platforms and cannot raise on a TPU. So it is off unless
    asked for:

    >>> import jax, jaxinfo
    >>> with jaxinfo.value_checks():
    ...     pass  # whatever is traced here raises at run time when a value breaks a promise

    What was traced before keeps the setting under which it was traced.
    """
    global _traced_checks
    before, _traced_checks = _traced_checks, enabled
    try:
        yield
    finally:
        _traced_checks = before


def checked(x: T, bad: Bool[Array, ""] | bool, message: str) -> T:
    """Return `x`, or raise if the scalar `bad` is true; use the returned value.

    Raises `ValueError` at once when `bad` is known, and follows `value_checks` when it is traced.
    """
    if is_traced(bad):
        return eqx.error_if(x, bad, message) if _traced_checks else x
    if bool(bad):
        raise ValueError(message)
    return x


def one_of(name: str, value: T, choices: Iterable[T]) -> T:
    """Return `value`, or raise a `ValueError` that lists the `choices` of argument `name`."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}; got {value!r}.")
    return value


def of_shape(name: str, x: Array, shape: tuple[int, ...]) -> Array:
    """Return `x`, or raise a `ValueError` if argument `name` is of another shape."""
    if x.shape != shape:
        raise ValueError(f"`{name}` must have shape {shape} here; got {x.shape}.")
    return x


def whole(name: str, value: Any) -> int:
    """Return `value` as an integer, or raise a `TypeError` if argument `name` is no whole number."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be a whole number; got {value!r}.") from None


def sizes(**named: int) -> tuple[int, ...]:
    """The sizes of an array that is to be made, or a `ValueError` if it cannot be: before it is."""
    if any(size < 0 for size in named.values()):
        listed = ", ".join(f"`{name}` {size}" for name, size in named.items())
        raise ValueError(f"Sizes must be at least 0; got {listed}.")
    if math.prod(named.values()) > MOST:
        listed = " x ".join(f"{size} (`{name}`)" for name, size in named.items())
        raise ValueError(f"An array has at most 2**31 - 1 entries here; asked for {listed}.")
    return tuple(named.values())


def unknown_name(kind: str, name: str, known: Iterable[str]) -> KeyError:
    """The error for a name that does not exist: lists those that do, nearest first if one is near.

    `KeyError` shows the repr of its text; the subclass below shows the text itself.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(repr, known)) if known else "none"
    return UnknownName(f"There is no {kind} {name!r}.{hint} Known: {listed}.")


class UnknownName(KeyError):
    """A name that is not in a table, with the names that are."""

    def __str__(self) -> str:
        return str(self.args[0])


def require(module: str, *, extra: str) -> Any:
    """Import an optional dependency, or say which extra of jaxinfo brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ImportError(
            f"This needs {package}, which is not installed. Install it with "
            f"`pip install 'jaxinfo[{extra}]'`."
        ) from error
