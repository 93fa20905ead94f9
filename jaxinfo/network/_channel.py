"""The channel: all that effective information ever sees of a network."""

import copy
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .._core import as_inexact, checked, public
from ..activations import Activation, as_activation

Range = tuple[Any, Any]


class Affine(eqx.Module):
    """$x \\mapsto x W + b$ for one example, flattened."""

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __call__(self, x: Array) -> Float[Array, " outputs"]:
        return jnp.ravel(x) @ self.weight + self.bias


@public
class Channel(eqx.Module):
    r"""One pure function from a layer's input neurons to its output neurons, for one example.

    `channel(x)` maps an array of shape `in_shape` to one of shape `out_shape`. Neurons are the
    entries of these arrays, numbered in row-major order. A channel is a pytree: the arrays inside
    `fn` (the live parameters) are its leaves, so gradients with respect to a channel, or to the
    model it was cut from, work as for any Equinox module.

    When the channel is affine followed by an elementwise activation, $t = f(x W + b)$, it also
    carries `weight`, `bias` and `activation`, from which exact effective information and the
    weight graph are computed.

    **Arguments:**

    - `fn`: any JAX function of one example.
    - `in_shape`: shape of its input.
    - `in_range`, `out_range`: `(lower, upper)`, where interventions are drawn and where outputs are
        binned. By default $(-10, 10)$ for the input, and the activation's default range for the
        output.
    - `activation`: elementwise, applied after `fn`: a function, a name, or `None`.
    - `affine`: a promise that `fn` is affine, so that `weight` and `bias` exist.

    **Raises:** `TypeError` if `fn` does not accept an array of `in_shape` or returns complex
    numbers, `ValueError` for a range that is reversed.

    >>> import jax.numpy as jnp
    >>> channel = Channel(lambda x: x[:2] * x[2], (3,), in_range=(0.0, 1.0), activation="tanh")
    >>> channel.out_shape, channel.out_range
    ((2,), (-1.0, 1.0))
    >>> channel(jnp.ones(3)).shape
    (2,)
    """

    fn: Callable[[Array], Array]
    activation: Activation | None = eqx.field(static=True)
    in_shape: tuple[int, ...] = eqx.field(static=True)
    out_shape: tuple[int, ...] = eqx.field(static=True)
    in_range: Range
    out_range: Range
    affine: bool = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __init__(
        self,
        fn: Callable[[Array], Array],
        in_shape: tuple[int, ...] | int,
        *,
        in_range: Range | None = None,
        out_range: Range | None = None,
        activation: str | Callable[[Array], Array] | None = None,
        affine: bool = False,
        name: str = "channel",
    ):
        in_shape = (in_shape,) if isinstance(in_shape, int) else tuple(in_shape)
        out = eqx.filter_eval_shape(fn, jax.ShapeDtypeStruct(in_shape, jnp.result_type(float)))
        if not isinstance(out, jax.ShapeDtypeStruct):
            raise TypeError(
                f"The function of channel {name!r} must return one array; got {type(out).__name__}."
                " Wrap it in a function that picks the output to measure."
            )
        self.fn = fn
        self.activation = None if activation is None else as_activation(activation)
        if jnp.issubdtype(out.dtype, jnp.complexfloating):  # unless the activation makes it real
            out = out if self.activation is None else eqx.filter_eval_shape(self.activation, out)
            if jnp.issubdtype(out.dtype, jnp.complexfloating):
                raise TypeError(
                    f"The outputs of channel {name!r} must be real numbers; got {out.dtype.name}. "
                    "Measure the real part, the imaginary part or the absolute value: make a "
                    "channel of your own from a function that returns it."
                )
        self.in_shape, self.out_shape = in_shape, tuple(out.shape)
        if in_range is None:
            in_range = as_activation(None).default_range
        if out_range is None:
            out_range = as_activation(self.activation).default_range
        self.in_range = valid_range("in_range", in_range)
        self.out_range = valid_range("out_range", out_range)
        self.affine = affine
        self.name = name

    @classmethod
    @public
    def from_weight(
        cls,
        weight: Real[ArrayLike, "inputs outputs"],
        bias: Real[ArrayLike, " outputs"] | None = None,
        activation: str | Callable[[Array], Array] | None = None,
        **options: Any,
    ) -> "Channel":
        """The channel $f(x W + b)$ of a weight matrix that acts from the right."""
        weight = jnp.asarray(weight)
        if not jnp.issubdtype(weight.dtype, jnp.floating):
            weight = weight.astype(float)
        bias = jnp.zeros(weight.shape[1]) if bias is None else jnp.asarray(bias)
        fn = Affine(weight, bias.astype(weight.dtype))
        return cls(fn, weight.shape[:1], activation=activation, affine=True, **options)

    @public
    def __call__(self, x: Float[Array, "*in_shape"]) -> Float[Array, "*out_shape"]:
        pre = self.fn(x)
        # Of an activation with whole numbers or truth values, such as a gate.
        return as_inexact(pre if self.activation is None else self.activation(pre))

    @public
    def with_activation(self, activation: str | Callable[[Array], Array]) -> "Channel":
        """The same channel with another activation, and that activation's output range."""
        return Channel(
            self.fn,
            self.in_shape,
            in_range=self.in_range,
            activation=activation,
            affine=self.affine,
            name=self.name,
        )

    @property
    def n_in(self) -> int:
        """Number of input neurons."""
        return math.prod(self.in_shape)

    @property
    def n_out(self) -> int:
        """Number of output neurons."""
        return math.prod(self.out_shape)

    @property
    def weight(self) -> Float[Array, "inputs outputs"]:
        """The matrix $W$ of an affine channel, materialised: column $j$ feeds output $j$.

        **Raises:** `ValueError` if the channel is not affine.
        """
        self._require_affine("weight")
        if isinstance(self.fn, Affine):
            return self.fn.weight
        dtype = jnp.result_type(float)
        zero = jnp.zeros(self.in_shape, dtype)
        # One linearisation, then the columns of the identity, or the rows: whichever is fewer.
        if self.n_in <= self.n_out:
            _, push = jax.linearize(self.fn, zero)
            basis = jnp.eye(self.n_in, dtype=dtype).reshape(self.n_in, *self.in_shape)
            return jax.vmap(push)(basis).reshape(self.n_in, self.n_out)
        value, pull = jax.vjp(self.fn, zero)
        basis = jnp.eye(self.n_out, dtype=value.dtype).reshape(self.n_out, *self.out_shape)
        return jax.vmap(pull)(basis)[0].reshape(self.n_out, self.n_in).T

    @property
    def bias(self) -> Float[Array, " outputs"]:
        """The vector $b$ of an affine channel.

        **Raises:** `ValueError` if the channel is not affine.
        """
        self._require_affine("bias")
        if isinstance(self.fn, Affine):
            return self.fn.bias
        return jnp.ravel(self.fn(jnp.zeros(self.in_shape, jnp.result_type(float))))

    def _require_affine(self, what: str) -> None:
        if not self.affine:
            raise ValueError(
                f"Channel {self.name!r} has no `{what}`: it is not known to be affine followed by "
                "an elementwise activation. Measure it with `Sampling()` or `Soft()`; or, if it is "
                "affine, say so with `Channel(..., affine=True)`."
            )


def unnamed(channel: Channel) -> Channel:
    """The same channel without its name: what is compiled for it serves any other name."""
    twin = copy.copy(channel)
    object.__setattr__(twin, "name", "")  # frozen for users
    return twin


def valid_range(name: str, bounds: Range) -> Range:
    """Return `(lower, upper)`, or raise if it is not a pair of finite numbers in order."""
    if not (isinstance(bounds, tuple | list) and len(bounds) == 2):
        raise ValueError(f"`{name}` must be a pair (lower, upper); got {bounds!r}.")
    lower, upper = bounds
    bad = ~(jnp.all(lower < upper) & jnp.all(jnp.isfinite(jnp.asarray([lower, upper]))))
    message = f"`{name}` must be finite with lower < upper; got ({lower}, {upper})."
    return checked(lower, bad, message), upper
