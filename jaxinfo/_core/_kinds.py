"""From an annotation to the kinds of value that it allows, in words and as tests."""

import collections.abc
import functools
import inspect
import itertools
import numbers
import operator
import types
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import ArrayLike, PRNGKeyArray

from ._tracing import is_traced

Sizes = dict[str, tuple[int, str]]  # of each axis that has a name: its size, and in which argument


class Unfit(Exception):
    """A value that is not of a kind: of another type, or of the `right_type` and wrong in itself."""

    def __init__(self, hint: str = "", *, right_type: bool = False):
        self.hint, self.right_type = hint, right_type


class Within(NamedTuple):
    """In an annotation of a whole number: the least and the most that it may be."""

    least: int
    most: int


MOST = 2**31 - 1  # what 32 bits can number
Natural = Annotated[int, Within(0, MOST)]
Positive = Annotated[int, Within(1, MOST)]


class Kind(NamedTuple):
    """One kind of value that an argument may have.

    `accept(value, sizes, argument)` returns the value, perhaps as an array, and notes the sizes of
    its named axes; or raises `Unfit`.
    """

    words: str
    accept: Callable[[Any, Sizes, str], Any]


def kinds_of(annotation: Any) -> tuple[Kind, ...]:
    """The kinds of value that an annotation allows: none where it says nothing."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _ANYTHING or isinstance(annotation, str):
        return ()
    if annotation in _SIMPLE:
        return (_SIMPLE[annotation],)
    if origin in (typing.Union, types.UnionType):
        return _any_of(parts)
    if origin is Annotated:
        limits = [part for part in parts if isinstance(part, Within)]
        return tuple(map(_whole_within, limits)) or kinds_of(parts[0])
    if origin is Literal:
        return (_choice(parts),)
    if annotation in _KEYS:
        return (Kind("a key such as `jax.random.key(0)`", functools.partial(_key, annotation)),)
    if hasattr(annotation, "dim_str"):
        return (_array(annotation),)
    if origin in (tuple, list, collections.abc.Sequence):
        return (_sequence(origin, parts),)
    if origin in (dict, collections.abc.Mapping):
        return (_mapping(origin, parts),)
    if origin in _CONTAINERS:
        return (_instance(origin, _CONTAINERS[origin]),)
    if inspect.isclass(annotation):
        article = "an" if annotation.__name__[0] in "AEIOU" else "a"
        return (_instance(annotation, f"{article} `{annotation.__name__}`"),)
    return ()


def shown(value: Any) -> str:
    """A value in a few words: dtype and shape of an array, the repr and type of anything else."""
    if isinstance(value, jax.Array | np.ndarray):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if value is None:
        return "None"
    text = repr(value)
    short = text if len(text) <= 60 and "\n" not in text else f"{text[:40].splitlines()[0]}..."
    return f"{short} ({type(value).__name__})"


def _any_of(parts: tuple[Any, ...]) -> tuple[Kind, ...]:
    first: tuple[Kind, ...] = ()
    for alias, kind in _ALIASES.items():
        if set(alias) <= set(parts):
            first = (*first, kind)
            parts = tuple(part for part in parts if part not in alias)
    each = [kinds_of(part) for part in parts]
    return (*first, *itertools.chain.from_iterable(each)) if all(each) else ()


def _instance(cls: Any, words: str) -> Kind:
    def accept(value: Any, sizes: Sizes, argument: str) -> Any:
        if not isinstance(value, cls):
            raise Unfit
        return value

    return Kind(words, accept)


def _choice(choices: tuple[Any, ...]) -> Kind:
    def accept(value: Any, sizes: Sizes, argument: str) -> Any:
        if not isinstance(value, str | int | None) or value not in choices:
            raise Unfit(right_type=True)
        return value

    return Kind(" or ".join(map(repr, choices)), accept)


def _whole(value: Any, sizes: Sizes, argument: str) -> Any:
    if is_traced(value):
        raise Unfit("It sets a size, so it must be known when the function is traced.")
    try:
        operator.index(value)
    except TypeError:
        raise Unfit from None
    return value


def _whole_within(limits: Within) -> Kind:
    least, most = limits

    def accept(value: Any, sizes: Sizes, argument: str) -> Any:
        if not least <= _whole(value, sizes, argument) <= most:
            raise Unfit(right_type=True)
        return value

    shown_most = "2**31 - 1" if most == MOST else most
    return Kind(f"a whole number of at least {least} and at most {shown_most}", accept)


def _number(value: Any, sizes: Sizes, argument: str) -> Any:
    if isinstance(value, numbers.Real):
        return value
    if not isinstance(value, jax.Array | np.ndarray):
        raise Unfit
    if value.ndim or not _is(value.dtype, jnp.floating, jnp.integer, jnp.bool_):
        raise Unfit(right_type=True)
    return value


def _sequence(origin: Any, parts: tuple[Any, ...]) -> Kind:
    any_length = origin is not tuple or parts[-1:] == (...,)
    each = [kinds_of(part) for part in parts if part is not ...]
    words = dict.fromkeys(" or ".join(k.words for k in kinds) or "anything" for kinds in each)

    def accept(value: Any, sizes: Sizes, argument: str) -> Any:
        array = isinstance(value, jax.Array | np.ndarray)
        if not (array or isinstance(value, Sequence)):
            raise Unfit
        if isinstance(value, str):  # whose letters are not meant
            raise Unfit(right_type=True)
        if array and value.ndim == 0:
            raise Unfit(right_type=True)
        if array and any_length and not all(each):  # rows are not what could be anything
            raise Unfit
        if not any_length and len(value) != len(each):
            raise Unfit(f"It must have {len(each)} entries, not {len(value)}.", right_type=True)
        for kinds, item in zip(each * len(value) if any_length else each, value, strict=True):
            if kinds and not any(_fits(kind, item, argument) for kind in kinds):
                raise Unfit(f"One entry is {shown(item)}.", right_type=True)
        return value

    name = (
        "list" if origin is not tuple else "pair" if len(each) == 2 and not any_length else "tuple"
    )
    return Kind(f"a {name} of {', '.join(words)}" if all(each) else f"a {name}", accept)


def _mapping(origin: Any, parts: tuple[Any, ...]) -> Kind:
    of_keys, of_values = map(kinds_of, parts)

    def accept(value: Any, sizes: Sizes, argument: str) -> Any:
        if not isinstance(value, origin):
            raise Unfit
        for key, item in value.items():
            for kinds, part in ((of_keys, key), (of_values, item)):
                if kinds and not any(_fits(kind, part, argument) for kind in kinds):
                    raise Unfit(f"One entry is {key!r}: {shown(item)}.", right_type=True)
        return value

    words = [
        " or ".join(kind.words for kind in kinds) or "anything" for kinds in (of_keys, of_values)
    ]
    return Kind(f"a dictionary from {words[0]} to {words[1]}", accept)


def _fits(kind: Kind, value: Any, argument: str) -> bool:
    try:
        kind.accept(value, {}, argument)
    except Unfit:
        return False
    return True


def _array(annotation: Any) -> Kind:
    """Of a jaxtyping annotation: its dtypes, and its axes by the words between its quotes."""
    name, axes = annotation.dtype.__name__, annotation.dim_str.split()
    before, after, is_open = _around_open_axes(axes)
    least = len(before) + len(after)
    # Whole numbers and booleans are numbers, too.
    widened = name in ("Float", "Inexact", "Real", "Num")

    @functools.cache
    def is_named(dtype: np.dtype) -> bool:
        return name == "Shaped" or dtype.name in annotation.dtypes

    def accept(value: Any, sizes: Sizes, argument: str) -> Any:
        x = _as_array(value)
        named, shape = is_named(x.dtype), x.shape
        if not named and not (widened and _is(x.dtype, jnp.integer, jnp.bool_)):
            raise Unfit(right_type=True)
        if len(shape) < least or (len(shape) > least and not is_open):
            raise Unfit(right_type=True)
        _match(before, shape, sizes, argument)
        _match(after, shape[len(shape) - len(after) :], sizes, argument)
        if name != "Shaped" and _would_be_cut(x):
            if not widened:
                raise Unfit(_NEEDS_X64, right_type=True)
            return jnp.asarray(x.astype(float))
        return x if named else jnp.asarray(x, float)

    words = f"an array of {_WORDS.get(name, 'numbers')}" if axes else "a scalar"
    if axes and axes != ["..."]:
        inner = ", ".join(axis.replace("*", "...").strip("#?") for axis in axes)
        words += f" of shape ({inner}{',' if len(axes) == 1 else ''})"
    return Kind(words, accept)


def _would_be_cut(x: Any) -> bool:
    """Whether JAX would keep the low half of some integer of NumPy alone, without a word."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu" or not x.size:
        return False
    limits = np.iinfo(jax.dtypes.canonicalize_dtype(x.dtype))
    return not limits.min <= int(x.min()) <= int(x.max()) <= limits.max


_NEEDS_X64 = "Integers of that size need `jax_enable_x64`."


def _around_open_axes(axes: list[str]) -> tuple[list[str], list[str], bool]:
    """The axes before those that `*name` or `...` leaves open, those after, and if there are such."""
    for i, axis in enumerate(axes):
        if axis.strip("#?").startswith(("*", "...")):
            return axes[:i], axes[i + 1 :], True
    return axes, [], False


def _match(axes: list[str], shape: tuple[int, ...], sizes: Sizes, argument: str) -> None:
    """Hold the sizes of the axes against the numbers and the names that stand for them."""
    for axis, size in zip(axes, shape, strict=False):
        if axis.isdigit() and size != int(axis):
            raise Unfit(right_type=True)
        if axis.isidentifier() and axis != "_":
            known, where = sizes.setdefault(axis, (size, argument))
            if known != size:
                raise Unfit(f"Here {axis} = {known}, as in `{where}`.", right_type=True)


def _key(annotation: Any, value: Any, sizes: Sizes, argument: str) -> Any:
    if not isinstance(value, jax.Array | np.ndarray):
        raise Unfit
    typed = _is(value.dtype, jax.dtypes.prng_key)
    if typed != (annotation.dtype.__name__ == "Key") or not (typed or value.dtype == jnp.uint32):
        raise Unfit(right_type=True)
    if value.shape != tuple(map(int, annotation.dim_str.split())):
        raise Unfit("One key is needed, not an array of keys: `jax.vmap` maps over many." * typed)
    return value


def _as_array(value: Any) -> Any:
    """`value` if it is an array, NumPy's too; numbers and lists of numbers as an array."""
    if isinstance(value, jax.Array):
        return value
    if hasattr(value, "__jax_array__"):
        return value.__jax_array__()
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind in "OSUVmM" and not hasattr(jnp, value.dtype.name):
            raise Unfit("JAX has no such arrays.", right_type=True)
        return np.asarray(value)
    if not isinstance(value, numbers.Number | list | tuple):
        raise Unfit
    try:
        return jnp.asarray(value)
    except OverflowError:
        raise Unfit(_NEEDS_X64, right_type=True) from None
    except (TypeError, ValueError):
        raise Unfit from None


def _array_or_number(value: Any, sizes: Sizes, argument: str) -> Any:
    """What JAX takes for an array. A Python number stays one: it takes the dtype of its partner."""
    x = _as_array(value)
    return value if isinstance(value, numbers.Number) else x


def _dtype(value: Any, sizes: Sizes, argument: str) -> Any:
    named = isinstance(value, str | type | np.dtype) or hasattr(value, "dtype")
    if not named or isinstance(value, jax.Array | np.ndarray):
        raise Unfit
    try:
        jnp.dtype(value)
    except TypeError:
        raise Unfit(right_type=True) from None
    return value


def _is(dtype: Any, *kinds: Any) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in kinds)


_ANYTHING = (Any, object, inspect.Parameter.empty)
_ALIASES = {  # unions that have a name
    typing.get_args(ArrayLike): Kind("an array or a number", _array_or_number),
    typing.get_args(DTypeLike): Kind("a dtype", _dtype),
}
_KEYS = typing.get_args(PRNGKeyArray)
NOTHING = _instance(types.NoneType, "None")
_AN_ARRAY = Kind("an array", lambda value, sizes, argument: _as_array(value))
_SIMPLE = {
    None: NOTHING,
    types.NoneType: NOTHING,
    bool: _instance(bool | np.bool_, "True or False"),
    int: Kind("a whole number", _whole),
    float: Kind("a number", _number),
    str: _instance(str, "a string"),
    collections.abc.Callable: _instance(Callable, "a function"),
    jax.Array: _AN_ARRAY,
    np.ndarray: _AN_ARRAY,
}
_CONTAINERS = {
    collections.abc.Callable: "a function",
    collections.abc.Iterable: "an iterable",
    set: "a set",
    type: "a class",
}
_WORDS = {
    "Float": "real numbers",
    "Real": "real numbers",
    "Int": "integers",
    "Integer": "integers",
    "UInt": "integers",
    "UInt32": "uint32",
    "Bool": "booleans",
}
