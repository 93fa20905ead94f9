"""The public door: the arguments of a call, held against the annotations of the function."""

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax

from ._kinds import NOTHING, Kind, Sizes, Unfit, kinds_of, shown

F = TypeVar("F", bound=Callable[..., Any])


def public(fn: F) -> F:
    """Check each call of `fn` against its annotations; for a class, the calls that make one.

    What does not fit raises `TypeError` (another kind of object) or `ValueError` (an array of
    another shape or dtype, a word that is no choice), which names the argument, says what was
    expected and what came. Axes of one name have one size in all arguments. What an annotation
    does not say (`Any`, or none) is not checked, and neither are values, but for the limits of
    whole numbers (`Natural`, `Positive`).

    Integers and booleans where floating numbers are expected become such numbers, and a list of
    numbers where an array is expected becomes an array: nothing else is changed. It happens while
    tracing, so a compiled program does not know of it.

    JAX's switches against implicit promotions and transfers are for the caller's code, and are off
    inside.

    >>> import jax.numpy as jnp
    >>> from jaxtyping import Array, Float
    >>> @public
    ... def scaled(x: Float[Array, "n d"], by: float) -> Float[Array, "n d"]:
    ...     return x * by
    >>> scaled(jnp.ones((2, 3)), "2")
    Traceback (most recent call last):
    TypeError: `scaled`: `by` must be a number; got '2' (str).
    >>> scaled(jnp.ones(3), by=2)
    Traceback (most recent call last):
    ValueError: `scaled`: `x` must be an array of real numbers of shape (n, d); got float32[3].
    """
    if inspect.isclass(fn):
        made = fn.__init__
        fn.__init__ = public(made)
        return typing.cast(F, fn)

    expectations = functools.cache(lambda: _expectations(fn))  # at the first call: names may follow

    @functools.wraps(fn)
    def at_the_door(*args: Any, **kwargs: Any) -> Any:
        if _is_strict():
            with (
                jax.numpy_rank_promotion("allow"),
                jax.numpy_dtype_promotion("standard"),
                jax.transfer_guard("allow"),
            ):
                return at_the_door(*args, **kwargs)
        expected = expectations()
        sizes: Sizes = {}
        places = [*expected.places, *[expected.rest] * (len(args) - len(expected.places))]
        values = [
            place.checked(fn, value, sizes) for place, value in zip(places, args, strict=False)
        ]
        for name in filter(expected.by_name.__contains__, kwargs):
            kwargs[name] = expected.by_name[name].checked(fn, kwargs[name], sizes)
        return fn(*values, **kwargs)

    return typing.cast(F, at_the_door)


_USUAL = {
    "jax_numpy_rank_promotion": ("allow",),
    "jax_numpy_dtype_promotion": ("standard",),
    "jax_transfer_guard_host_to_device": ("allow", None),
    "jax_transfer_guard_device_to_device": ("allow", None),
    "jax_transfer_guard_device_to_host": ("allow", None),
}


def _is_strict() -> bool:
    return any(getattr(jax.config, switch) not in usual for switch, usual in _USUAL.items())


class Argument(NamedTuple):
    """What one argument may be: any one of the kinds, or anything if there are none."""

    name: str
    kinds: tuple[Kind, ...]

    def checked(self, fn: Callable[..., Any], value: Any, sizes: Sizes) -> Any:
        """`value` as the first kind that takes it, or an error in words."""
        misfits = []
        for kind in self.kinds:
            found = dict(sizes)
            try:
                value = kind.accept(value, found, self.name)
            except Unfit as misfit:
                misfits.append(misfit)
            else:
                sizes.update(found)
                return value
        if not misfits:
            return value
        function = fn.__qualname__.removesuffix(".__init__")
        words = " or ".join(dict.fromkeys(kind.words for kind in self.kinds))
        hints = "".join(f" {hint}" for hint in dict.fromkeys(m.hint for m in misfits) if hint)
        error = ValueError if any(misfit.right_type for misfit in misfits) else TypeError
        raise error(
            f"`{function}`: `{self.name}` must be {words}; got {shown(value)}.{hints}"
        ) from None


class Arguments(NamedTuple):
    """What a function expects by position, in `*args`, and by name."""

    places: tuple[Argument, ...]
    rest: Argument
    by_name: dict[str, Argument]


def _expectations(fn: Callable[..., Any]) -> Arguments:
    places, rest, by_name = [], Argument("", ()), {}
    try:
        signature = inspect.signature(fn, eval_str=True)  # a class names itself by a string
    except NameError:
        signature = inspect.signature(fn)
    for parameter in signature.parameters.values():
        argument = Argument(parameter.name, kinds_of(parameter.annotation))
        if parameter.default is None and argument.kinds:
            argument = argument._replace(kinds=(*argument.kinds, NOTHING))
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = argument
        elif parameter.kind is not parameter.VAR_KEYWORD:
            by_name[parameter.name] = argument
            if parameter.kind is not parameter.KEYWORD_ONLY:
                places.append(argument)
    return Arguments(tuple(places), rest, by_name)
