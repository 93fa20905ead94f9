"""Floor 0: small operations on tensors: clamp, normalise, drop, initialise.

Those of `ngclearn.utils.model_utils` (Ororbia and Kifer 2022, *Nature Communications* 13:2064), by
their documented definitions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, Num, PRNGKeyArray

from ._core import (
    as_inexact,
    as_real,
    checked,
    nan_where,
    over_largest,
    public,
    safe_divide,
    unknown_name,
)


@public
def clamp_min(x: ArrayLike, min_val: ArrayLike) -> Array:
    r"""$\max(x, \text{min\_val})$; infinities are clamped too, NaN stays NaN.

    The derivative is 1 where `x` exceeds the bound, else 0 (also at the bound itself).

    >>> clamp_min(jnp.array([-jnp.inf, 0.5, 3.0]), 1.0)
    Array([1., 1., 3.], dtype=float32)
    """
    x = as_inexact(x)
    return jnp.where((x <= min_val) | jnp.isnan(min_val), jnp.asarray(min_val, x.dtype), x)


@public
def clamp_max(x: ArrayLike, max_val: ArrayLike) -> Array:
    r"""$\min(x, \text{max\_val})$; infinities are clamped too, NaN stays NaN.

    The derivative is 1 where `x` is below the bound, else 0 (also at the bound itself).

    >>> clamp_max(jnp.array([jnp.inf, 0.5, -3.0]), 1.0)
    Array([ 1. ,  0.5, -3. ], dtype=float32)
    """
    x = as_inexact(x)
    return jnp.where((x >= max_val) | jnp.isnan(max_val), jnp.asarray(max_val, x.dtype), x)


@public
def one_hot(P: Num[ArrayLike, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """1 at the largest entry of the last axis, 0 elsewhere; of equal entries the first.

    NaN has no place among the others: all is NaN beside it.

    >>> one_hot(jnp.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]]))
    Array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    P = as_inexact(P)
    if not P.shape[-1]:
        raise ValueError(f"`P` must have at least one class; got shape {P.shape}.")
    unknown = jnp.any(jnp.isnan(P), axis=-1, keepdims=True)
    return nan_where(unknown, jax.nn.one_hot(jnp.argmax(P, axis=-1), P.shape[-1], dtype=P.dtype))


@public
def binarize(data: ArrayLike, threshold: ArrayLike = 0.5) -> Array:
    r"""1 where `data` $\ge$ `threshold`, else 0: at the threshold itself it is 1; NaN stays NaN.

    >>> binarize(jnp.array([0.4, 0.5, 0.6]))
    Array([0., 1., 1.], dtype=float32)
    """
    data = as_inexact(data)
    unknown = jnp.isnan(data) | jnp.isnan(threshold)
    return nan_where(unknown, (data >= threshold).astype(data.dtype))


@public
def normalize_matrix(
    M: Num[ArrayLike, "*shape"],
    wnorm: ArrayLike,
    order: float | int = 1,
    axis: int = 0,
    scale: ArrayLike = 1.0,
) -> Float[Array, "*shape"]:
    r"""Give every vector along an axis the $p$-norm `wnorm`.

    $$y = x + s \left(\frac{w}{\|x\|_p} - 1\right) x, \qquad
    \|x\|_p = \Bigl(\sum_i |x_i|^p\Bigr)^{1/p}.$$

    A vector of zeros has no direction: it stays zero, and nothing of the derivative of its
    direction passes (the gradient is $1 - s$: 0 for the default). The size of the numbers does not
    matter: neither tiny nor huge vectors under- or overflow.
    What is infinite has no share of a norm: NaN.

    **Arguments:**

    - `wnorm`: the norm to reach.
    - `order`: $p > 0$; 1 and 2 are the usual ones, `jnp.inf` the largest entry.
    - `axis`: 0 normalises columns, 1 rows; any axis of an array of any rank.
    - `scale`: $s$, how far to step towards the normalised matrix; 1 is all the way.

    **Raises:** `ValueError` unless `order` is positive.

    >>> normalize_matrix(jnp.array([[3.0, 0.0], [4.0, 0.0]]), 1.0, order=2)
    Array([[0.6, 0. ],
           [0.8, 0. ]], dtype=float32)
    """
    if isinstance(order, str) or not order > 0:
        raise ValueError(f"`order` must be positive, such as 1, 2 or jnp.inf; got {order!r}.")
    dtype, x = as_inexact(M).dtype, as_real(M)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"`axis` must be one of those of `M`, of shape {x.shape}; got {axis}.")
    unit = over_largest(x, axis)  # of the same direction, whatever the size
    size = jnp.abs(unit)
    nonzero = size != 0
    if order == jnp.inf:
        norm = jnp.max(size, axis=axis, keepdims=True, initial=0)
    else:
        powers = jnp.where(nonzero, jnp.where(nonzero, size, 1) ** order, 0)
        total = jnp.sum(powers, axis=axis, keepdims=True)
        some = total != 0
        norm = jnp.where(some, jnp.where(some, total, 1) ** (1 / order), 0)
    target = safe_divide(unit * wnorm, norm)
    return (x * (1 - jnp.asarray(scale, x.dtype)) + scale * target).astype(dtype)


@public
def drop_out(
    dkey: PRNGKeyArray, input: Num[ArrayLike, "*shape"], rate: ArrayLike = 0.0
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    r"""Drop each entry with probability `rate`: `(output, mask)`.

    The mask holds 0 where an entry is dropped and 1 where it is kept, and
    $\text{output} = \text{input} \cdot \text{mask} / (1 - \text{rate})$, so that the expectation
    stays. At rate 1 everything is dropped; at rate 0 nothing is, whatever the key.

    **Raises:** `ValueError` for a rate outside [0, 1], where its value is known.

    **Source:** Srivastava et al. (2014), *JMLR* 15:1929.

    >>> output, mask = drop_out(jr.key(0), jnp.ones(1000), 0.2)
    >>> sorted(set(output.tolist())), f"{mask.mean():.1f}"
    ([0.0, 1.25], '0.8')
    """
    x = as_inexact(input)
    rate = jnp.asarray(rate, x.dtype)
    outside = jnp.any(~((rate >= 0) & (rate <= 1)))
    kept = 1 - checked(rate, outside, f"`rate` is a probability between 0 and 1; got {rate}.")
    mask = jr.bernoulli(dkey, kept, x.shape)
    output = jnp.where(mask | jnp.isnan(x), x / jnp.where(kept > 0, kept, 1), 0)
    return output, mask.astype(x.dtype)


@public
def initialize_params(
    dkey: PRNGKeyArray, initKernel: Sequence[Any], shape: Sequence[int]
) -> Float[Array, "..."]:
    r"""A tensor of initial values, by the kernel's name and its numbers.

    | kernel | values |
    |---|---|
    | `("uniform", low, high)` | uniform on $[\text{low}, \text{high})$ |
    | `("gaussian", mu, sigma)`, `("normal", mu, sigma)` | normal with that mean and deviation |
    | `("constant", value)` | `value` |
    | `("eye", value)` | `value` on the diagonal, 0 off it |
    | `("hollow", value)` | 0 on the diagonal, `value` off it |

    The last three may carry a third entry, which is ignored, and ignore the key.

    **Raises:** `KeyError` for another name; `ValueError` for the wrong count of numbers, for a name
    alone, or for `"eye"` and `"hollow"` of a shape that is not a matrix.

    >>> initialize_params(jr.key(0), ("hollow", 0.7, 0.0), (2, 2))
    Array([[0. , 0.7],
           [0.7, 0. ]], dtype=float32)
    """
    if not isinstance(initKernel, tuple | list) or not initKernel:
        raise ValueError(
            f'`initKernel` must be a name and its numbers, as ("uniform", 0.0, 1.0); got '
            f"{initKernel!r}."
        )
    name, *numbers = initKernel
    if not isinstance(name, str) or name not in _KERNELS:
        raise unknown_name("kernel", str(name), _KERNELS)
    fewest, kernel = _KERNELS[name]
    if not fewest <= len(numbers) <= 2:
        raise ValueError(f"Kernel {name!r} takes {fewest} to 2 numbers; got {tuple(numbers)}.")
    return kernel(dkey, tuple(shape), *numbers)


def _uniform(key: PRNGKeyArray, shape: tuple[int, ...], low: Any, high: Any) -> Array:
    return jr.uniform(key, shape, minval=low, maxval=high)


def _normal(key: PRNGKeyArray, shape: tuple[int, ...], mu: Any, sigma: Any) -> Array:
    return mu + sigma * jr.normal(key, shape)


def _constant(_: PRNGKeyArray, shape: tuple[int, ...], value: Any, *ignored: Any) -> Array:
    return jnp.full(shape, value, jnp.result_type(float))


def _eye(_: PRNGKeyArray, shape: tuple[int, ...], value: Any, *ignored: Any) -> Array:
    if len(shape) != 2:
        raise ValueError(f"The diagonal is that of a matrix; got shape {shape}.")
    return value * jnp.eye(*shape)


def _hollow(key: PRNGKeyArray, shape: tuple[int, ...], value: Any, *ignored: Any) -> Array:
    return value * (1 - _eye(key, shape, 1.0))


_KERNELS = {
    "uniform": (2, _uniform),
    "gaussian": (2, _normal),
    "normal": (2, _normal),
    "constant": (1, _constant),
    "eye": (1, _eye),
    "hollow": (1, _hollow),
}


@runtime_checkable
class HasEquation(Protocol):
    """Anything that can say by which equation it works."""

    equation: str


@runtime_checkable
class HasComponents(Protocol):
    """A model that keeps its parts in a dictionary."""

    components: Mapping[str, Any]


def pull_equations(controller: Any) -> str:
    r"""The equations of the parts of a model, one line `name: equation` each.

    A part is anything with a string attribute `equation`. The model (`controller` is its documented
    name) is an object with a dictionary
    `components`, or else any pytree, whose parts are then named by their place in it. Empty if no
    part has an equation.

    >>> import types
    >>> neuron = types.SimpleNamespace(equation="tau * dv/dt = -v + j")
    >>> pull_equations({"z0": neuron, "w1": 3.0})
    'z0: tau * dv/dt = -v + j'
    """
    if isinstance(controller, HasComponents):
        parts = list(controller.components.items())
    else:
        found = jax.tree_util.tree_flatten_with_path(controller, is_leaf=_has_equation)[0]
        parts = [
            (jax.tree_util.keystr(path, simple=True, separator=".") or type(part).__name__, part)
            for path, part in found
        ]
    return "\n".join(f"{name}: {part.equation}" for name, part in parts if _has_equation(part))


def _has_equation(part: Any) -> bool:
    return isinstance(part, HasEquation) and isinstance(part.equation, str)
