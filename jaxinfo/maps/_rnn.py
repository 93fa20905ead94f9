"""Recurrent networks of structured maps."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, Inexact, PRNGKeyArray, Shaped

from .._core import Positive, as_inexact, may_be_divided, public
from ._base import AbstractLinearMap
from ._linear import Linear
from ._loading import fill_from_source

Nonlinearity = Callable[[Array], Array]

# In a derivative of our own (`_recurrence`). JAX before 0.10 cannot, and differentiates a plain loop.
_LOOPS_TRANSPOSE = jax.__version_info__ >= (0, 10)


def gelu(x: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    r"""$x\,\Phi(x)$ with the exact normal distribution function, not its tanh approximation.

    As `jax.nn.gelu(x, approximate=False)`, but value and derivative, $\Phi(x) + x \phi(x)$, share the
    error function, and the tail below $-3$ is exact to rounding of 1, not of itself.
    """
    return _gelu(x)


@jax.custom_jvp
def _gelu(x: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    return x * _normal_distribution(x)


@_gelu.defjvp
def _gelu_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    below = _normal_distribution(x)
    density = jnp.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return x * below, (below + x * density) * x_dot


def _normal_distribution(x: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    return 0.5 + 0.5 * jax.lax.erf(x * math.sqrt(0.5))


@public
class RNNCell(eqx.Module):
    r"""$h' = f(h W_h + b_h + x W_x + b_x)$ with any maps for $W_h$ and $W_x$.

    **Arguments:**

    - `input_size`, `hidden_size`: sizes of $x$ and $h$.
    - `bias`: give both maps a bias.
    - `nonlin`: $f$; by default the exact GELU. An elementwise function is differentiated faster.
    - `hidden_map`, `input_map`: classes of maps.
    - `hidden_args`, `input_args`: dictionaries of their options.

    **Source:** neuromancer.slim.

    >>> import jax, jax.numpy as jnp, jaxinfo
    >>> PF = jaxinfo.maps.PerronFrobeniusLinear
    >>> cell = RNNCell(5, 8, hidden_map=PF, key=jax.random.key(0))
    >>> cell(jnp.ones((20, 5)), jnp.zeros((20, 8))).shape
    (20, 8)
    """

    lin_in: AbstractLinearMap
    lin_hidden: AbstractLinearMap
    input_size: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    nonlin: Nonlinearity = eqx.field(static=True)

    def __init__(
        self,
        input_size: Positive,
        hidden_size: Positive,
        bias: bool = False,
        nonlin: Nonlinearity = gelu,
        hidden_map: type[AbstractLinearMap] = Linear,
        input_map: type[AbstractLinearMap] = Linear,
        input_args: Mapping[str, Any] | None = None,
        hidden_args: Mapping[str, Any] | None = None,
        *,
        key: PRNGKeyArray,
    ):
        if not callable(nonlin) or any(map(eqx.is_array, jax.tree.leaves(nonlin))):
            raise TypeError(
                "`nonlin` must be a function with no arrays in it, as it is not trained; got "
                f"{nonlin!r}."
            )
        in_key, hidden_key = jr.split(key)
        self.input_size, self.hidden_size = int(input_size), int(hidden_size)
        self.nonlin = nonlin
        self.lin_in = input_map(input_size, hidden_size, bias, key=in_key, **(input_args or {}))
        self.lin_hidden = hidden_map(
            hidden_size, hidden_size, bias, key=hidden_key, **(hidden_args or {})
        )

    @property
    def in_features(self) -> int:
        return self.input_size

    @property
    def out_features(self) -> int:
        return self.hidden_size

    @public
    def __call__(
        self,
        input: Shaped[ArrayLike, "*batch input_size"],
        hidden: Shaped[ArrayLike, "*batch hidden_size"],
    ) -> Inexact[Array, "*batch hidden_size"]:
        """The next hidden state."""
        input = self.lin_in._accepted("input", input)
        hidden = self.lin_hidden._accepted("hidden", hidden)
        return self.nonlin(self.lin_hidden(hidden) + self.lin_in(input))

    def reg_error(self) -> Float[Array, ""]:
        """The mean of the penalties of the two maps."""
        return (self.lin_in.reg_error() + self.lin_hidden.reg_error()) / 2

    @classmethod
    @public
    def from_parameters(
        cls,
        params: Mapping[str, Any],
        input_size: int,
        hidden_size: int,
        *args: Any,
        **options: Any,
    ) -> "RNNCell":
        """A cell from arrays named as in the source (`lin_in.weight`, `lin_hidden.U`, ...).

        See `AbstractLinearMap.from_parameters`; `args` and `options` as for the constructor.
        """
        options = _as_source(options)
        template = eqx.filter_eval_shape(
            lambda: cls(input_size, hidden_size, *args, key=jr.key(0), **options)
        )
        return fill_from_source(template, params, AbstractLinearMap)


@public
class RNN(eqx.Module):
    r"""A stack of recurrent layers over a sequence; layer $l + 1$ reads the states of layer $l$.

    The matrices are built once for a sequence, whatever its length; the input product is taken for
    all steps at once, and only the recurrence itself is a loop.

    **Arguments:**

    - `input_size`, `hidden_size`, `num_layers`.
    - `cell_args`: dictionary of arguments of `RNNCell`.

    The initial states are parameters, one vector for each layer, 0 at first.

    **Source:** neuromancer.slim.

    >>> import jax, jax.numpy as jnp, jaxinfo
    >>> cell = {"hidden_map": jaxinfo.maps.PerronFrobeniusLinear}
    >>> rnn = RNN(5, hidden_size=8, num_layers=3, cell_args=cell, key=jax.random.key(0))
    >>> output, h_n = rnn(jnp.ones((20, 10, 5)))
    >>> output.shape, h_n.shape
    ((20, 10, 8), (3, 10, 8))
    """

    rnn_cells: tuple[RNNCell, ...]
    init_states: tuple[Inexact[Array, " hidden_size"], ...]

    def __init__(
        self,
        input_size: Positive,
        hidden_size: Positive = 16,
        num_layers: Positive = 1,
        cell_args: Mapping[str, Any] | None = None,
        *,
        key: PRNGKeyArray,
    ):
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        keys = jr.split(key, num_layers)
        self.rnn_cells = tuple(
            RNNCell(size, hidden_size, key=cell_key, **(cell_args or {}))
            for size, cell_key in zip(sizes, keys, strict=True)
        )
        self.init_states = tuple(jnp.zeros(hidden_size) for _ in sizes)

    @public
    def __call__(
        self,
        sequence: Shaped[ArrayLike, "..."],
        init_states: Iterable[Any] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Inexact[Array, "..."], Inexact[Array, "..."]]:
        """Run over a sequence.

        **Arguments:**

        - `sequence`: `(length, *batch, input_size)`, with at least one batch axis.
        - `init_states`: `(num_layers, *batch, hidden_size)`; by default the model's own.
        - `key`: for maps that draw something (`L0Linear`), once for the whole sequence.

        **Returns:** the states of the last layer, `(length, *batch, hidden_size)`, and the final states
        of every layer, `(num_layers, *batch, hidden_size)`.

        **Raises:** `ValueError` for shapes that do not fit.
        """
        states = as_inexact(sequence)
        size, hidden = self.rnn_cells[0].input_size, self.rnn_cells[0].hidden_size
        if states.ndim < 3 or states.shape[-1] != size:
            raise ValueError(
                f"`sequence` must have shape (length, batch, {size}); got {states.shape}. One sequence "
                "alone is a batch of one: `sequence[:, None]`."
            )
        batch = states.shape[1:-1]
        starts = self.init_states if init_states is None else tuple(map(as_inexact, init_states))
        if len(starts) != len(self.rnn_cells):
            raise ValueError(
                f"`init_states` must hold one state for each of the {len(self.rnn_cells)} layers; got "
                f"{len(starts)}."
            )
        keys = [None] * len(starts) if key is None else jr.split(key, len(starts))
        finals = []
        for cell, start, cell_key in zip(self.rnn_cells, starts, keys, strict=True):
            if start.shape not in ((hidden,), (*(1 for _ in batch), hidden), (*batch, hidden)):
                raise ValueError(
                    f"Each of `init_states` must have shape {(*batch, hidden)}; got {start.shape}."
                )
            start = jnp.broadcast_to(start, (*batch, hidden))
            states, final = _run(cell, states, start, cell_key)
            finals.append(final)
        return states, jnp.stack(finals)

    def reg_error(self) -> Float[Array, ""]:
        """The mean of the penalties of the cells."""
        return jnp.mean(jnp.stack([cell.reg_error() for cell in self.rnn_cells]))

    @classmethod
    @public
    def from_parameters(
        cls,
        params: Mapping[str, Any],
        input_size: Positive,
        hidden_size: Positive = 16,
        num_layers: Positive = 1,
        cell_args: Mapping[str, Any] | None = None,
    ) -> "RNN":
        """A model from arrays named as in the source (`rnn_cells.0.lin_in.weight`, `init_states.0`).

        See `AbstractLinearMap.from_parameters`; the other arguments as for the constructor.
        """
        args = _as_source(cell_args or {})
        template = eqx.filter_eval_shape(
            lambda: cls(input_size, hidden_size, num_layers, args, key=jr.key(0))
        )
        return fill_from_source(template, params, AbstractLinearMap)


def _run(
    cell: RNNCell,
    inputs: Inexact[Array, "length *batch input_size"],
    start: Inexact[Array, "*batch hidden_size"],
    key: PRNGKeyArray | None,
) -> tuple[Inexact[Array, "length *batch hidden_size"], Inexact[Array, "*batch hidden_size"]]:
    """One layer over the whole sequence."""
    in_key, hidden_key = (None, None) if key is None else jr.split(key)
    hidden_map = cell.lin_hidden
    driven = _by_rows(lambda rows: cell.lin_in(rows, key=in_key), inputs)
    if hidden_map.bias is not None:
        driven = driven + hidden_map.bias
    W = None if hidden_map._fast else hidden_map._matrix(hidden_key)

    def step(hidden, drive):
        product = hidden_map._multiply(hidden, hidden_key) if W is None else hidden @ W
        hidden = cell.nonlin(product + drive)
        return hidden, hidden

    # A state has the type of its successors (a half-precision start, complex maps, ...).
    drive = jax.ShapeDtypeStruct(driven.shape[1:], driven.dtype)
    dtype = jax.eval_shape(step, start, drive)[0].dtype
    driven = driven.astype(dtype)
    start = start.astype(dtype) + driven[:0].sum(0)  # 0, on the devices where they are
    of_its_own = _LOOPS_TRANSPOSE and len(driven) and W is not None and W.dtype == dtype
    if of_its_own and _is_elementwise(cell.nonlin):
        states = _recurrence(cell.nonlin, start, driven, W)
        return states, states[-1]
    final, states = jax.lax.scan(step, start, driven)
    return states, final


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _recurrence(
    nonlin: Nonlinearity,
    start: Inexact[Array, "*batch n"],
    driven: Inexact[Array, "length *batch n"],
    W: Inexact[Array, "n n"],
) -> Inexact[Array, "length *batch n"]:
    r"""$h_t = f(h_{t-1} W + d_t)$ for an elementwise $f$.

    With a derivative of its own, for speed: the loop computes $f$ and $f'$ together and keeps one number
    for each state, and the gradient of $W$ is one matrix product over the whole sequence instead of a
    sum carried along the loop.
    """

    def step(hidden, drive):
        hidden = nonlin(hidden @ W + drive)
        return hidden, hidden

    return jax.lax.scan(step, start, driven)[1]


@_recurrence.defjvp
def _recurrence_jvp(nonlin, primals, tangents):
    start, driven, W = primals
    start_dot, driven_dot, W_dot = tangents

    def step(hidden, drive):
        before = hidden @ W + drive
        hidden, slope = jax.jvp(nonlin, (before,), (jnp.ones_like(before),))
        return hidden, (hidden, slope)

    def step_dot(hidden_dot, inputs):
        slope, drive_dot = inputs
        hidden_dot = slope * (hidden_dot @ W + drive_dot)
        return hidden_dot, hidden_dot

    states, slopes = jax.lax.scan(step, start, driven)[1]
    previous = jnp.concatenate([start[None], states[:-1]])
    driven_dot = driven_dot + _by_rows(lambda rows: rows @ W_dot, previous)
    return states, jax.lax.scan(step_dot, start_dot, (slopes, driven_dot))[1]


def _by_rows(
    product: Callable[[Array], Array], x: Inexact[Array, "length *batch n"]
) -> Inexact[Array, "length *batch m"]:
    """The product of two matrices, `x` with its leading axes as one and another.

    The transpose of any other form copies its operands. But an axis that is divided among devices
    would have to be gathered first, so there the axes stay.
    """
    if may_be_divided(x):
        return product(x)
    y = product(x.reshape(-1, x.shape[-1]))
    return y.reshape(*x.shape[:-1], y.shape[-1])


@functools.lru_cache
def _is_elementwise(nonlin: Nonlinearity) -> bool:
    """Whether the Jacobian is diagonal, at a point with nothing special about it."""
    with jax.ensure_compile_time_eval():
        try:
            J = jax.jacobian(nonlin)(jnp.array([0.31, -1.27, 0.84]))
        except (TypeError, ValueError):  # it wants a certain number of coordinates
            return False
        return J.shape == (3, 3) and bool(jnp.all(J == jnp.diag(jnp.diagonal(J))))


def _as_source(cell_args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a cell with the options under which its maps are the source's."""
    options = dict(cell_args)
    for role in ("input", "hidden"):
        kind = options.get(f"{role}_map", Linear)
        given = options.get(f"{role}_args") or {}
        options[f"{role}_args"] = {**kind._source_options, **given}
    return options
