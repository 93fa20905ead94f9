"""Every public function, called with one bad argument at a time: `python tests/bad_calls.py ROOM...`.

A process of its own, because the tests' type checker would answer before the package does. Each
call must end in a value or in an error that names the argument (or in JAX's own words for what is
no array and no key), within seconds and without asking for more memory than there is. Prints what
does not.
"""

import argparse
import faulthandler
import inspect
import resource
import signal
import sys
import typing
import warnings
import zlib

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from good_calls import ROOMS, good_arguments, in_each_room
from jaxtyping import PRNGKeyArray

MEMORY = 12 * 2**30
SECONDS = 20
BAD = {
    "object()": object(),
    "None": None,
    "'text'": "text",
    "nan": float("nan"),
    "-1": -1,
    "0": 0,
    "2.5": 2.5,
    "10**12": 10**12,
    "2**31": 2**31,
    "an empty array": jnp.zeros(0),
    "an array of rank 5": jnp.ones((1, 2, 1, 2, 1)),
    "an array of NaN": jnp.full((4, 3), jnp.nan),
    "an array of complex numbers": jnp.ones((4, 3), complex),
    "a ragged list": [[1], [1, 2]],
    "strings": np.array(["a", "b"]),
    "a dictionary": {"a": 1},
    "two keys": jr.split(jr.key(0)),
}
# JAX's and NumPy's own words, where they say what is wrong.
CLEAR = (
    "is not a valid JAX array type",
    "is not a valid value for jnp.array",
    "invalid PRNG key data",
    "too large to convert to",
    "overflow was encountered while parsing an argument",
    "as a JAX value",
    "inhomogeneous shape",
    "broadcast-compatible",
    "ncompatible shapes for broadcasting",
    "could not be broadcast together",
    "complex",
    "File exists",
    "No such file",
    "There is none of",
    "got an unexpected keyword argument",
    "Expected a callable value",  # a loss that calls a model that is none
    "has no attribute 'layers'",  # nor has what `where` is given
    # Ours, where what is wrong is a name, or the shape of a matrix.
    "There is no activation",
    "The knots of activation",
    "There is no kernel",
    "There is no layer",
    "There is no parameter",
    "Parameter '",
    "do not match the model's by name and shape",
    "must be square",
    "cannot lower the dimension",
    "is not known in closed form",
    "does not accept an example of shape",
)
HUGE = ("RESOURCE_EXHAUSTED", "Out of memory", "Unable to allocate", "out of memory")


class TooSlow(BaseException):
    """What a call that does not return in time ends with."""


def too_slow(*_):
    raise TooSlow


def fault(fn, arguments, changed, value):
    """What is wrong with the way a bad call ends, or None."""
    signal.alarm(SECONDS)
    try:
        fn(**{**arguments, changed: value})
    except TooSlow:
        return f"did not return within {SECONDS} s"
    except (MemoryError, Exception) as error:
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, MemoryError) or any(words in text for words in HUGE):
            return f"asked for too much memory: {text[:150]}"
        named = any(f"`{name}" in text for name in (changed, *arguments))
        if not named and not any(words in text for words in CLEAR):
            return text[:150].replace("\n", " ")
    finally:
        signal.alarm(0)
    return None


def values_for(parameter):
    """The bad values of an argument: anything, but what is meant for arrays only where one goes."""
    parts = typing.get_args(parameter.annotation)
    keyed = any(part in typing.get_args(PRNGKeyArray) for part in parts)
    for name, value in BAD.items():
        if name == "None" and parameter.default is None:
            continue
        if name == "two keys" and not keyed:
            continue
        yield name, value


def some(values, few, name):
    """`few` of the values, others for each argument; all of them where `few` is None."""
    values = list(values)
    if few is None:
        return values
    start = zlib.crc32(name.encode())
    return [values[(start + 5 * i) % len(values)] for i in range(few)]


def try_function(name, fn, few):
    """How many calls were tried, and one line for each that ends badly."""
    try:
        arguments = good_arguments(name, fn)
        if few is None:
            fn(**arguments)
    except NotImplementedError:
        pass  # documented for some families of maps
    except Exception as error:
        return 0, [f"{name}: no good call is known: {error}"]
    tried, lines = 0, []
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        for what, value in some(values_for(parameter), few, name + parameter.name):
            tried += 1
            wrong = fault(fn, arguments, parameter.name, value)
            if wrong:
                lines.append(f"{name}({parameter.name}={what}): {wrong}")
    return tried, lines


def main(arguments):
    """Try the rooms; the exit status is 1 if any call ends badly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rooms", nargs="*", default=ROOMS)
    parser.add_argument("--few", type=int, help="bad values of each argument; all by default")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, too_slow)
    faulthandler.enable()
    return in_each_room(
        options.rooms, lambda name, fn: try_function(name, fn, options.few), "bad calls"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
