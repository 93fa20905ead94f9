"""Every public function with NaN, with narrow numbers, with nothing: `python tests/sweeps.py ROOM...`.

A process of its own, because the tests' type checker would answer before the package does. Of each
array of a good call:

- NaN in one entry comes out as NaN, or is refused; what forgets it by its definition is in
  `FORGETS`, with the reason.
- Numbers of half the width, or narrow integers, give what the same numbers give in float32 (int32).
- Of no examples comes an answer, or an error that names the argument or its shape.

Prints what does not hold.
"""

import argparse
import inspect
import sys
import typing
import warnings
import zlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from bad_calls import CLEAR
from good_calls import ROOMS, good_arguments, in_each_room, is_key

BATCH = ("n", "steps", "*batch", "*rows", "batch")
NARROW = {"float": ("bfloat16", "float16", "int8", "uint8"), "int": ("int8", "uint8", "int16")}
EXAMPLE = "an example of the input: its shape alone is read"
FORGETS = {
    "info.Binning.index(x)": "NaN has no bin: the number of bins stands for it",
    "info.Binning.soft(x)": "NaN belongs to no bin",
    "report.ei_matrix(matrix)": "a picture, in which its place is left blank",
    **dict.fromkeys(
        (
            f"connectivity.{name}(x)"
            for name in ("connectivity_matrix", "get_shapes", "determinism", "degeneracy", "ei")
        ),
        EXAMPLE,
    ),
}


def annotated(fn, name):
    """The array types among the annotations of an argument."""
    annotation = inspect.signature(fn).parameters[name].annotation
    parts = (annotation, *typing.get_args(annotation))
    return [part for part in parts if hasattr(part, "dim_str")]


def numbers_of(answer):
    """The arrays in an answer, in the order of the tree."""
    leaves = jax.tree.leaves(answer)
    return [np.asarray(x) for x in leaves if eqx.is_array(x) and not is_key(x)]


def is_float(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


def refused(error, arguments):
    """Whether an error says which argument is wrong."""
    text = f"{type(error).__name__}: {error}"
    return any(f"`{name}" in text for name in arguments) or any(words in text for words in CLEAR)


def with_nan(name, fn, arguments, argument):
    """NaN goes in and is lost."""
    x = arguments[argument]
    if not is_float(x) or not x.size:
        return None
    try:
        answer = fn(**{**arguments, argument: x.at[(0,) * x.ndim].set(jnp.nan)})
    except (ValueError, TypeError) as error:
        return None if refused(error, arguments) else str(error)
    if any(is_float(y) and np.isnan(y.astype(np.float32)).any() for y in numbers_of(answer)):
        return None
    return None if f"{name}({argument})" in FORGETS else "the answer knows nothing of it"


def narrow(name, fn, arguments, argument, few):
    """Narrow numbers give another answer than wide ones."""
    x = arguments[argument]
    kind = "float" if is_float(x) else "int" if jnp.issubdtype(x.dtype, jnp.integer) else None
    if kind is None or x.dtype == jnp.uint32:
        return None
    dtypes = NARROW[kind]
    if few:
        dtypes = (dtypes[zlib.crc32(f"{name}{argument}".encode()) % len(dtypes)],)
    for dtype in dtypes:
        small = (x * 100 if kind == "float" and "int" in dtype else x).astype(dtype)
        wide = small.astype(x.dtype)
        try:
            expected = numbers_of(fn(**{**arguments, argument: wide}))
        except (ValueError, TypeError):
            continue  # these numbers are not for it
        try:
            found = numbers_of(fn(**{**arguments, argument: small}))
        except (ValueError, TypeError) as error:
            if refused(error, arguments):
                continue
            return f"{dtype}: {error}"
        for a, b in zip(found, expected, strict=True):
            if a.shape != b.shape:
                return f"{dtype}: shape {a.shape} instead of {b.shape}"
            # Half precision in may be computed and given back in half precision.
            digits = float(jnp.finfo(dtype).eps) if "float" in dtype else 1e-6
            a, b = a.astype(np.float64), b.astype(np.float64)
            scale = np.max(np.abs(b[np.isfinite(b)]), initial=1e-3)
            if not np.allclose(a, b, rtol=8 * digits, atol=8 * digits * scale, equal_nan=True):
                return f"{dtype}: {a.ravel()[:4]} instead of {b.ravel()[:4]}"
    return None


def empty(name, fn, arguments, argument):
    """No examples end in an error that says nothing."""
    axes = [t.dim_str.split()[0].strip("#?") for t in annotated(fn, argument) if t.dim_str]
    if not arguments[argument].ndim or not set(axes) & set(BATCH):
        return None
    together = {
        other: value[:0]
        for other, value in arguments.items()
        if eqx.is_array(value)
        and value.ndim
        and any(t.dim_str.split()[:1] == [axes[0]] for t in annotated(fn, other))
    }
    try:
        fn(**{**arguments, argument: arguments[argument][:0], **together})
    except (ValueError, TypeError) as error:
        return None if refused(error, arguments) else str(error)
    return None


def try_function(name, fn, few):
    """How many calls were tried, and one line for each that ends badly."""
    try:
        arguments = good_arguments(name, fn)
        fn(**arguments)
    except NotImplementedError:
        return 0, []
    lines, tried = [], 0
    arrays = [k for k, v in arguments.items() if isinstance(v, jax.Array) and not is_key(v)]
    for argument in arrays:
        for sweep in (with_nan, narrow, empty):
            tried += 1
            options = (few,) if sweep is narrow else ()
            try:
                wrong = sweep(name, fn, arguments, argument, *options)
            except NotImplementedError:
                continue
            except Exception as error:
                wrong = f"{type(error).__name__}: {error}"
            if wrong:
                wrong = " ".join(wrong.split())[:160]
                lines.append(f"{name}({argument}), {sweep.__doc__.rstrip('.')}: {wrong}")
    return tried, lines


def main(arguments):
    """Sweep the rooms; the exit status is 1 if anything does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rooms", nargs="*", default=ROOMS)
    parser.add_argument("--few", action="store_true", help="one narrow dtype for each argument")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    return in_each_room(
        options.rooms, lambda name, fn: try_function(name, fn, options.few), "sweeps"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
