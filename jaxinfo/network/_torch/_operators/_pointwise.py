"""Entry by entry: arithmetic, comparisons, elementary functions, activations, casts.

At kinks the branches are chosen so that the gradient is torch's.
"""

from typing import Any

import jax
import jax.numpy as jnp

from .._table import torch_operator

pointwise = {"pointwise": True}


def _float(x: Any) -> Any:
    """Integers and booleans as floating-point numbers, as torch's elementary functions take them."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))


def _size(x: Any) -> Any:
    """Whole numbers without their sign; the smallest, which has no counterpart, too."""
    unsigned = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
    return jnp.abs(x).astype(unsigned)


def _sign(x: Any) -> Any:
    """0 for no number, as in torch."""
    is_real = jnp.issubdtype(x.dtype, jnp.floating)
    return jnp.where(jnp.isnan(x), 0, jnp.sign(x)) if is_real else jnp.sign(x)


def _at_infinity(a: Any, x: Any, limit: float, elsewhere: Any) -> Any:
    """What an incomplete gamma function tends to with its first argument."""
    return jnp.where(jnp.isposinf(a) & jnp.isfinite(x), limit, elsewhere)


_OF_FLOATS = {
    "acos": jnp.arccos,
    "acosh": jnp.arccosh,
    "asin": jnp.arcsin,
    "asinh": jnp.arcsinh,
    "atan": jnp.arctan,
    "atanh": jnp.arctanh,
    "cos": jnp.cos,
    "cosh": jnp.cosh,
    "digamma": lambda x: jnp.where(x == 0, -jnp.copysign(jnp.inf, x), jax.scipy.special.digamma(x)),
    "erf": jax.scipy.special.erf,
    "erfc": jax.scipy.special.erfc,
    "erfinv": jax.scipy.special.erfinv,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "i0": jax.scipy.special.i0,
    "lgamma": jax.scipy.special.gammaln,
    "log": jnp.log,
    "log10": jnp.log10,
    "log1p": jnp.log1p,
    "log2": jnp.log2,
    "reciprocal": jnp.reciprocal,
    "rsqrt": jax.lax.rsqrt,
    "sigmoid": jax.nn.sigmoid,
    "sin": jnp.sin,
    "sinh": jnp.sinh,
    "special_i1": jax.scipy.special.i1,
    "special_ndtri": jax.scipy.special.ndtri,
    "sqrt": jnp.sqrt,
    "tan": jnp.tan,
    "tanh": jnp.tanh,
}
for name, fn in _OF_FLOATS.items():
    torch_operator(f"aten.{name}.default", **pointwise)(lambda x, fn=fn: fn(_float(x)))

_OF_NUMBERS = {
    "abs": jnp.abs,
    "bitwise_not": jnp.invert,
    "ceil": jnp.ceil,
    "floor": jnp.floor,
    "isfinite": jnp.isfinite,
    "isinf": jnp.isinf,
    "isnan": jnp.isnan,
    "logical_not": jnp.logical_not,
    "neg": jnp.negative,
    "positive": jnp.positive,
    "relu": jax.nn.relu,
    "round": jnp.round,
    "sgn": lambda x: _sign(x),
    "sign": lambda x: _sign(x),
    "signbit": jnp.signbit,
    "square": jnp.square,
    "trunc": jnp.trunc,
}
for name, fn in _OF_NUMBERS.items():
    torch_operator(f"aten.{name}.default", **pointwise)(fn)

_OF_TWO = {
    "atan2": lambda x, y: jnp.arctan2(_float(x), _float(y)),
    "floor_divide": jnp.floor_divide,
    "fmax": jnp.fmax,
    "fmin": jnp.fmin,
    "gcd": lambda x, y: jnp.gcd(_size(x), _size(y)),
    "hypot": jnp.hypot,
    "igamma": lambda a, x: _at_infinity(a, x, 0.0, jax.scipy.special.gammainc(a, x)),
    "igammac": lambda a, x: _at_infinity(a, x, 1.0, jax.scipy.special.gammaincc(a, x)),
    "lcm": lambda x, y: jnp.lcm(_size(x), _size(y)),
    "logaddexp": jnp.logaddexp,
    "logaddexp2": jnp.logaddexp2,
    "logical_and": jnp.logical_and,
    "logical_or": jnp.logical_or,
    "logical_xor": jnp.logical_xor,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
}
for name, fn in _OF_TWO.items():
    torch_operator(f"aten.{name}.default", **pointwise)(fn)

_OF_TWO_OR_A_NUMBER = {
    "bitwise_and": jnp.bitwise_and,
    "bitwise_left_shift": jnp.left_shift,
    "bitwise_or": jnp.bitwise_or,
    "bitwise_right_shift": jnp.right_shift,
    "bitwise_xor": jnp.bitwise_xor,
    "copysign": lambda x, y: jnp.copysign(_float(x), y),
    "eq": jnp.equal,
    "fmod": jnp.fmod,
    "ge": jnp.greater_equal,
    "gt": jnp.greater,
    "le": jnp.less_equal,
    "lt": jnp.less,
    "mul": jnp.multiply,
    "ne": jnp.not_equal,
    "remainder": jnp.remainder,
}
for name, fn in _OF_TWO_OR_A_NUMBER.items():
    second = "Tensor_Scalar" if name.endswith("shift") else "Scalar"
    torch_operator(f"aten.{name}.Tensor", f"aten.{name}.{second}", **pointwise)(fn)
for name, fn in (("lshift", jnp.left_shift), ("rshift", jnp.right_shift)):  # Python's own signs
    torch_operator(f"aten.__{name}__.Tensor", f"aten.__{name}__.Scalar", **pointwise)(fn)


@torch_operator("aten.add.Tensor", "aten.add.Scalar", **pointwise)
def add(x, y, alpha=1):
    return jnp.add(x, y if alpha == 1 else jnp.multiply(alpha, y))


@torch_operator("aten.sub.Tensor", "aten.sub.Scalar", **pointwise)
def sub(x, y, alpha=1):
    return jnp.subtract(x, y if alpha == 1 else jnp.multiply(alpha, y))


@torch_operator("aten.rsub.Tensor", "aten.rsub.Scalar", **pointwise)
def rsub(x, y, alpha=1):
    return sub(y, x, alpha)


@torch_operator("aten.div.Tensor", "aten.div.Scalar", **pointwise)
def div(x, y):
    return jnp.true_divide(x, y)


@torch_operator("aten.div.Tensor_mode", "aten.div.Scalar_mode", **pointwise)
def div_mode(x, y, rounding_mode=None):
    if rounding_mode == "floor":
        return jnp.floor_divide(x, y)
    if rounding_mode is None:
        return jnp.true_divide(x, y)
    if jnp.issubdtype(jnp.result_type(x, y), jnp.integer):
        dtype = jnp.result_type(x, y)
        return jax.lax.div(*jnp.broadcast_arrays(*(jnp.asarray(z, dtype) for z in (x, y))))
    return jnp.trunc(jnp.true_divide(x, y))


@torch_operator("aten.pow.Tensor_Scalar", "aten.pow.Tensor_Tensor", "aten.pow.Scalar", **pointwise)
def power(x, y):
    # A whole exponent has a derivative at negative and zero bases.
    if isinstance(y, float) and y.is_integer() and abs(y) < 64:
        y = int(y)
    if isinstance(y, float) and abs(y) == 0.5:  # which differ at minus infinity and minus zero
        return jnp.sqrt(_float(x)) if y > 0 else jax.lax.rsqrt(_float(x))
    if isinstance(y, int) and y < 0:
        return jnp.reciprocal(jnp.power(_float(x), -y))
    return jnp.power(x, y)


@torch_operator("aten.round.decimals", **pointwise)
def round_decimals(x, decimals=0):
    return jnp.round(x, decimals)


@torch_operator("aten.frac.default", **pointwise)
def frac(x):
    return x - jnp.trunc(x)


@torch_operator("aten.addcmul.default", **pointwise)
def addcmul(x, a, b, value=1):
    return x + value * a * b


@torch_operator("aten.addcdiv.default", **pointwise)
def addcdiv(x, a, b, value=1):
    return x + value * a / b


@torch_operator("aten.lerp.Scalar", "aten.lerp.Tensor", **pointwise)
def lerp(start, end, weight):
    return start + weight * (end - start)


@torch_operator("aten.xlogy.Tensor", **pointwise)
def xlogy(x, y):
    return jax.scipy.special.xlogy(_float(x), _float(y))


@torch_operator("aten.ldexp.Tensor", **pointwise)
def ldexp(x, y):
    return _float(x) * jnp.exp2(_float(y))


@torch_operator("aten.nan_to_num.default", **pointwise)
def nan_to_num(x, nan=None, posinf=None, neginf=None):
    return jnp.nan_to_num(x, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)


@torch_operator(
    "aten.where.self",
    "aten.where.ScalarSelf",
    "aten.where.ScalarOther",
    "aten.where.Scalar",
    **pointwise,
)
def where(condition, x, y):
    return jnp.where(condition, x, y)


@torch_operator("aten.masked_fill.Scalar", "aten.masked_fill.Tensor", **pointwise)
def masked_fill(x, mask, value):
    return jnp.where(mask, jnp.asarray(value).astype(jnp.asarray(x).dtype), x)


@torch_operator("aten.clamp.default", "aten.clamp.Tensor", **pointwise)
def clamp(x, min=None, max=None):
    if min is not None:
        x = jnp.where(_or_undefined(x < min, min), min, x)
    return x if max is None else jnp.where(_or_undefined(x > max, max), max, x)


def _or_undefined(beyond, end):
    """Where an end is passed, or is no number, which is the result then."""
    if isinstance(end, bool | int | float):
        return beyond if end == end else jnp.ones_like(beyond)
    return beyond | jnp.isnan(end) if jnp.issubdtype(end.dtype, jnp.inexact) else beyond


@torch_operator("aten.clamp_min.default", "aten.clamp_min.Tensor", **pointwise)
def clamp_min(x, min):
    return clamp(x, min=min)


@torch_operator("aten.clamp_max.default", "aten.clamp_max.Tensor", **pointwise)
def clamp_max(x, max):
    return clamp(x, max=max)


@torch_operator(
    "aten._to_copy.default",
    "aten.to.dtype",
    "aten.clone.default",
    "aten.alias.default",
    "aten.contiguous.default",
    "aten.lift_fresh_copy.default",
    "prims.convert_element_type.default",
    **pointwise,
)
def cast(x, *memory, **how):
    return x  # the dtype is the one that torch declares for the result


@torch_operator("aten.detach.default", **pointwise)
def detach(x):
    return jax.lax.stop_gradient(x)


@torch_operator("aten.copy.default", single=lambda x, y: jnp.broadcast_to(y, jnp.shape(x)))
def copy(x, y, non_blocking=False):
    return jnp.broadcast_to(y, x.shape)


@torch_operator("aten.fill.Scalar", "aten.fill.Tensor", **pointwise)
def fill(x, value):
    return jnp.full_like(x, value)


# Activations. Those that torch takes apart (SELU, CELU, GLU, ...) need no entry.


@torch_operator("aten.hardtanh.default", **pointwise)
def hardtanh(x, min_val=-1.0, max_val=1.0):
    return jnp.where(x <= min_val, min_val, jnp.where(x >= max_val, max_val, x))


@torch_operator("aten.relu6.default", **pointwise)
def relu6(x):
    return hardtanh(x, 0.0, 6.0)


@torch_operator("aten.hardsigmoid.default", **pointwise)
def hardsigmoid(x):
    return hardtanh(x / 6 + 0.5, 0.0, 1.0)


@torch_operator("aten.hardswish.default", **pointwise)
def hardswish(x):
    return x * clamp(x + 3, 0.0, 6.0) / 6


@torch_operator("aten.leaky_relu.default", **pointwise)
def leaky_relu(x, negative_slope=0.01):
    return jnp.where(x > 0, x, negative_slope * x)


@torch_operator("aten.rrelu_with_noise_functional.default")
def rrelu(x, noise, lower=0.125, upper=1 / 3, training=False):
    return leaky_relu(x, (lower + upper) / 2), noise  # in evaluation mode the slope is the mean


@torch_operator("aten._prelu_kernel.default", **pointwise)
def prelu(x, weight):
    return jnp.where(x > 0, x, weight * x)


@torch_operator("aten.threshold.default", **pointwise)
def threshold(x, threshold, value):
    return jnp.where(x <= threshold, value, x)


@torch_operator("aten.elu.default", **pointwise)
def elu(x, alpha=1.0, scale=1.0, input_scale=1.0):
    negative = jnp.where(x > 0, 0.0, x)  # keeps the unused branch from overflowing
    return jnp.where(x > 0, scale * x, scale * alpha * jnp.expm1(input_scale * negative))


@torch_operator("aten.softplus.default", **pointwise)
def softplus(x, beta=1.0, threshold=20.0):
    return jnp.where(beta * x > threshold, x, jnp.logaddexp(beta * x, 0.0) / beta)


@torch_operator("aten.mish.default", **pointwise)
def mish(x):
    return x * jnp.tanh(softplus(x))


@torch_operator("aten.silu.default", **pointwise)
def silu(x):
    return jax.nn.silu(x)


@torch_operator("aten.gelu.default", **pointwise)
def gelu(x, approximate="none"):
    return jax.nn.gelu(x, approximate=approximate == "tanh")


@torch_operator("aten.log_sigmoid_forward.default")
def log_sigmoid(x):
    return jax.nn.log_sigmoid(x), jnp.zeros(0, x.dtype)
