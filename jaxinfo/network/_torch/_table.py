"""The table of torch operators, and how to add to it."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..._core import public

F = TypeVar("F", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Operator:
    """What a torch operator computes, written in JAX with the operator's own arguments."""

    fn: Callable[..., Any]
    single: Callable[..., Any] | None = None
    """The same for one example: arguments and results have lost their leading batch axis. Without
    it the axis is put back with size one for `fn`, and taken away again."""
    unbatched: bool = False
    """`fn` takes one example as it is, arguments and results without the axis, wherever it lies."""
    pointwise: bool = False
    """Entry by entry with broadcasting, so that `fn` serves one example as it is."""
    shape_only: bool = False
    """Reads shapes and dtypes of arrays, never their values."""
    pool: bool = False
    """A pooling, which has no parameter to take its layer's name from."""


OPERATORS: dict[str, Operator] = {}


@public
def torch_operator(*names: str, **properties: Any) -> Callable[[F], F]:
    """Register a JAX function as the meaning of torch operators, for `from_torch`.

    The function takes the operator's arguments, arrays in place of tensors and NumPy dtypes in
    place of torch's (arguments that say where and how memory lies are left out), and returns what
    the operator returns. Its result is cast to the dtype that torch declares.

    **Arguments:**

    - `names`: overloads as torch prints them, such as `"aten.sinc.default"` or
        `"mylibrary::myop.default"` written `"mylibrary.myop.default"`.
    - `properties`: `pointwise=True` for a function that works entry by entry.

    >>> import jax.numpy as jnp
    >>> @torch_operator("mylibrary.double.default", pointwise=True)
    ... def double(x):
    ...     return 2 * x
    """

    def register(fn: F) -> F:
        for name in names:
            OPERATORS[name] = Operator(fn, **properties)
        return fn

    return register


class UnsupportedOperators(NotImplementedError):
    """A model uses torch operators that are not in the table; the text lists all of them."""


def refuse_unknown(
    uses: Iterable[tuple[str, str]], sized_by_data: Iterable[tuple[str, str]] = ()
) -> None:
    """Raise `UnsupportedOperators` if an operator of `(operator, module path)` is not known.

    `sized_by_data`: those uses of them whose result has a shape that depends on values.
    """
    sized_by_data = set(sized_by_data)
    unknown: dict[str, list[str]] = {}
    for operator, path in uses:
        if operator not in OPERATORS or (operator, path) in sized_by_data:
            paths = unknown.setdefault(operator, [])
            if (path or "the model itself") not in paths:
                paths.append(path or "the model itself")
    if not unknown:
        return
    dynamic = {operator for operator, _ in sized_by_data}
    lines = "\n".join(
        f"  {name}  used by {', '.join(paths)}"
        + (", with a result whose shape depends on the data" if name in dynamic else "")
        for name, paths in unknown.items()
    )
    advice = ""
    if writable := [name for name in unknown if name not in dynamic]:
        advice += (
            "Write each as a JAX function of the operator's own arguments and register it before "
            f"importing:\n\n    @jaxinfo.network.torch_operator({writable[0]!r})\n"
            "    def operator(x, ...):\n        ...\n"
        )
    if dynamic:
        advice += (
            "JAX needs every shape before it sees the data: replace a selection by a mask, such as "
            "`x[x > 0].sum()` by `torch.where(x > 0, x, 0).sum()`.\n"
        )
    raise UnsupportedOperators(
        f"The model uses {len(unknown)} torch operator(s) without a JAX counterpart:\n{lines}\n"
        + advice
    )
