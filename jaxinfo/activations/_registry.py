"""The table of activations, and how to find an entry in it."""

import functools
from collections.abc import Callable
from math import inf

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._core import public, unknown_name, values_now
from . import _functions as f, _thresholds as t
from ._activation import Activation, Elementwise
from ._derivatives import d_heaviside, d_threshold
from ._formula import formula_of
from ._links import d_softmax, inverse_logistic, softmax
from ._normal import Law, normal_form

_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717


def _inverse_softplus(y: Array) -> Array:
    return y + jnp.log(-jnp.expm1(-y))


def _inverse_elu(y: Array) -> Array:
    return jnp.where(y > 0, y, jnp.log1p(jnp.where(y > 0, 0, y)))


def _logit(y: Array) -> Array:
    return inverse_logistic(y, clip_bound=0.0)


_known = Activation.through

_ENTRIES = (
    _known("identity", f.identity, (-inf, -inf), (inf, inf), inverse=f.identity),
    _known("sigmoid", f.sigmoid, (-inf, 0), (inf, 1), inverse=_logit),
    _known("tanh", f.tanh, (-inf, -1), (inf, 1), inverse=jnp.arctanh),
    _known("relu", f.relu, (-inf, 0), (0, 0), (inf, inf), inverse=f.identity),
    _known("relu6", f.relu6, (-inf, 0), (0, 0), (6, 6), (inf, 6), inverse=f.identity),
    _known(
        "leaky_relu",
        f.lrelu,
        (-inf, -inf),
        (0, 0),
        (inf, inf),
        inverse=lambda y: jnp.where(y < 0, y / 0.01, y),
    ),
    _known("softplus", f.softplus, (-inf, 0), (inf, inf), inverse=_inverse_softplus),
    _known(
        "log_sigmoid",
        f.log_sigmoid,
        (-inf, -inf),
        (inf, 0),
        inverse=lambda y: -_inverse_softplus(-y),
    ),
    _known("elu", f.elu, (-inf, -1), (0, 0), (inf, inf), inverse=_inverse_elu),
    _known(
        "selu",
        f.selu,
        (-inf, -_SELU_SCALE * _SELU_ALPHA),
        (0, 0),
        (inf, inf),
        inverse=lambda y: _inverse_elu(
            y / jnp.where(y > 0, _SELU_SCALE, _SELU_SCALE * _SELU_ALPHA).astype(y.dtype)
        ),
    ),
    # Zeros of the derivative, found by bisection in double precision, and the value there.
    _known("gelu", f.gelu, (-inf, 0), (-0.7517915246935645, -0.16997120747990369), (inf, inf)),
    _known(
        "gelu_tanh", f.gelu_tanh, (-inf, 0), (-0.7524614220710162, -0.17004075057125412), (inf, inf)
    ),
    _known(
        "quick_gelu",
        f.quick_gelu,
        (-inf, 0),
        (-0.7511542554412889, -0.16361018963635357),
        (inf, inf),
    ),
    _known("silu", f.silu, (-inf, 0), (-1.278464542761074, -0.27846454276107385), (inf, inf)),
    _known("mish", f.mish, (-inf, 0), (-1.1924312145154952, -0.3088434130172504), (inf, inf)),
    _known("telu", f.telu, (-inf, 0), (-1.078860058464624, -0.35328577784821125), (inf, inf)),
    _known("hard_silu", f.hard_silu, (-inf, 0), (-3, 0), (-1.5, -0.375), (3, 3), (inf, inf)),
    _known("hard_tanh", f.hard_tanh, (-inf, -1), (-1, -1), (1, 1), (inf, 1), inverse=f.identity),
    _known(
        "hard_sigmoid",
        f.hard_sigmoid,
        (-inf, 0),
        (-3, 0),
        (3, 1),
        (inf, 1),
        inverse=lambda y: 6 * y - 3,
    ),
    _known("soft_sign", f.soft_sign, (-inf, -1), (inf, 1), inverse=lambda y: y / (1 - jnp.abs(y))),
    _known(
        "heaviside",
        t.heaviside,
        (-inf, 0),
        (0, 0),
        (0, 1),
        (inf, 1),
        surrogate=d_heaviside,
    ),
    _known(
        "threshold",
        t.threshold,
        (-inf, 0),
        (1, 0),
        (1, 1),
        (inf, 1),
        surrogate=d_threshold,
    ),
    _known("spike", t.spike, (-inf, 0), (0, 0), (0, 1), (inf, 1)),
    _known("sign", t.sign, (-inf, -1), (0, -1), (0, 1), (inf, 1)),
    Activation("sine", f.sine, -1.0, 1.0),
)

ACTIVATIONS: dict[str, Activation] = {entry.name: entry for entry in _ENTRIES}
ACTIVATIONS |= {
    alias: ACTIVATIONS[name]
    for alias, name in (
        ("lrelu", "leaky_relu"),
        ("swish", "silu"),
        ("unit_threshold", "threshold"),
    )
}


# Other programs of an entry, of which the tails are cut where rounding has reached the limits, or not.
_SPELLINGS: dict[str, tuple[Elementwise, ...]] = {
    "gelu": (functools.partial(jax.nn.gelu, approximate=False),),
    "gelu_tanh": (jax.nn.gelu,),
    "quick_gelu": (lambda x: x * jax.nn.sigmoid(1.702 * x),),
    "silu": (jax.nn.silu,),
    "mish": (jax.nn.mish,),
    "telu": (lambda x: x * jnp.tanh(jnp.exp(x)),),
    "softplus": (lambda x: jnp.where(x > 20, x, jax.nn.softplus(x)),),
}

_PAIRS = {"softmax": (softmax, d_softmax), "bkwta": (t.bkwta, t.bkwta)}
"""What `create_function` knows beside the registry: functions of a whole vector."""


@public
def create_function(fun_name: str) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """The function of that name and its derivative, `(f, d_f)`.

    Any name in `ACTIVATIONS`: `d_f(x)` is the elementwise derivative, as `jax.grad` gives it, and
    the straight-through estimate 1 for `heaviside` and `unit_threshold`. Besides `softmax`, whose
    derivative is the Jacobian of each example, and `bkwta`, which stands for its own derivative:
    what passes is what the winners receive.

    **Raises:** `KeyError` for an unknown name, with the names that exist.

    >>> import jax.numpy as jnp
    >>> f, d_f = create_function("softplus")
    >>> f(jnp.zeros(1)), d_f(jnp.zeros(1))
    (Array([0.6931472], dtype=float32), Array([0.5], dtype=float32))
    """
    if fun_name in _PAIRS:
        return _PAIRS[fun_name]
    if fun_name not in ACTIVATIONS:
        raise unknown_name("activation function", fun_name, [*ACTIVATIONS, *_PAIRS])
    activation = ACTIVATIONS[fun_name]
    return activation.fn, activation.derivative


@public
def as_activation(activation: str | Elementwise | None) -> Activation:
    """The registry's entry for a name or a function; an unknown function gets a measured range.

    The bounds of a function that is not in the registry are its extremes on a fine grid over
    [-10, 10], and its shape counts as unknown. `None` is the identity.

    **Raises:** `KeyError` for an unknown name, with the names that exist.
    """
    if activation is None:
        return ACTIVATIONS["identity"]
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            raise unknown_name("activation", activation, ACTIVATIONS)
        return ACTIVATIONS[activation]
    recognised = recognise(activation)
    if recognised is not None:
        return recognised
    values = np.asarray(values_now(activation, np.linspace(-10, 10, 4097, dtype=np.float32)))
    lower, upper = float(np.nanmin(values)), float(np.nanmax(values))
    name = getattr(activation, "__name__", type(activation).__name__)
    return Activation(name, activation, lower, upper)


@public
def recognise(fn: Callable[[Array], Array]) -> Activation | None:
    """The registry's entry that computes the same function, or `None`.

    Decided by what the program computes (`normal_form`), however it is written: `jnp.maximum(x, 0)` is
    ReLU, and so is `(x + abs(x)) / 2`. Numbers in it may be off by rounding, so that bfloat16 models
    are recognised too.
    """
    formula = formula_of(fn)
    law = None if formula is None else normal_form(formula)
    if formula is None or law is None:
        return None
    narrow = [dtype for dtype in formula.dtypes if jnp.finfo(dtype).bits < 32]
    found = (_laws(dtype).get(law) for dtype in (np.dtype(np.float32), *narrow))
    return next(filter(None, found), None)


@functools.cache
def _laws(dtype: np.dtype) -> dict[Law | None, Activation]:
    """The entry of each normal form, with numbers as a floating type has them."""
    found: dict[Law | None, Activation] = {}
    for entry in _ENTRIES:
        for fn in (entry.fn, *_SPELLINGS.get(entry.name, ())):
            formula = formula_of(lambda x, fn=fn: fn(x.astype(dtype)))
            if formula is not None:
                found.setdefault(normal_form(formula), entry)
    found.pop(None, None)
    return found
