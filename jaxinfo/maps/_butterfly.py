"""Products of butterfly factors."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Inexact, PRNGKeyArray

from .._core import may_be_divided, public
from ._base import AbstractLinearMap
from ._numerics import uniform


@public
class ButterflyLinear(AbstractLinearMap):
    r"""A product of $\log_2 n$ sparse factors, each made of 2 x 2 blocks: $O(n \log n)$ per vector.

    The factor of stride $s = 1, 2, 4, \dots, n/2$ mixes coordinates that lie $s$ apart. The fast
    Fourier, cosine and Hadamard transforms, and permutations such as bit reversal, have this form.
    Here $n$ is `in_features` raised to a power of two; inputs are filled up with zeros. If
    `out_features` exceeds $n$, several products stand side by side; if it is at most half of $n$ (as
    a power of two), groups of outputs are averaged; then the first `out_features` are taken. The
    matrix is never formed to apply the map.

    **Arguments:**

    - `complex`: complex twiddles and bias, for complex or real inputs.
    - `tied_weight`: the blocks of a factor share their entries, $4(n - 1)$ numbers in all; otherwise
        $2 n \log_2 n$.
    - `increasing_stride`: apply stride 1 first; otherwise $n/2$ first. Does not change where a
        twiddle is stored.
    - `ortho_init`: start with an orthogonal (unitary) matrix, if `in_features = out_features = n`.

    There is no `from_matrix`: the product of sparse factors nearest to a matrix is not known, and one
    matrix has many factorisations.

    **Twiddles:** `(stacks, n - 1, 2, 2)` if tied, entry $s - 1 + k$ for position $k$ in a block of
    stride $s$; `(stacks, log2 n, n/2, 2, 2)` if not, entry `[log2 s, block * s + k]`. In
    `from_parameters` complex numbers may also be given by a trailing axis of 2, and the names may
    carry the source's prefix `linmap.`.

    **Source:** Dao, Gu, Eichhorn, Rudra and Re (2019), *Learning fast algorithms for linear transforms
    using butterfly factorizations*, arXiv:1903.05895; neuromancer.slim.
    """

    twiddle: Inexact[Array, "stacks *core 2 2"]
    complex: bool = eqx.field(static=True)
    tied_weight: bool = eqx.field(static=True)
    increasing_stride: bool = eqx.field(static=True)

    _fast = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        complex: bool = False,
        tied_weight: bool = True,
        increasing_stride: bool = True,
        ortho_init: bool = False,
    ):
        bias_key, imaginary_key, key = jr.split(key, 3)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        if complex and self.bias is not None:
            self.bias = self.bias + 1j * uniform(imaginary_key, (out_features,), in_features)
        self.complex, self.tied_weight = complex, tied_weight
        self.increasing_stride = increasing_stride
        log_n = (self.in_features - 1).bit_length()
        n = 1 << log_n
        core = (n - 1,) if tied_weight else (log_n, n // 2)
        blocks = (-(-out_features // n), *core)
        if ortho_init:
            self.twiddle = _unitary(key, blocks) if complex else _orthogonal(key, blocks)
        elif complex:
            parts = jr.normal(key, (2, *blocks, 2, 2)) / 2
            self.twiddle = parts[0] + 1j * parts[1]
        else:
            self.twiddle = jr.normal(key, (*blocks, 2, 2)) / math.sqrt(2)

    def effective_W(self) -> Inexact[Array, "{self.in_features} {self.out_features}"]:
        return self._multiply(jnp.eye(self.in_features, dtype=self.twiddle.dtype), None)

    @property
    def equation(self) -> str:
        order = "B_1 B_2 B_4 ..." if self.increasing_stride else "... B_4 B_2 B_1"
        return f"W = {order}, B_s mixing coordinates s apart"

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        log_n = (self.in_features - 1).bit_length()
        n = 1 << log_n
        # The batch goes last, where it is contiguous whatever the stride: as one axis, if it is all here.
        rows = x if may_be_divided(x) else x.reshape(-1, self.in_features)
        columns = jnp.moveaxis(rows, -1, 0)
        columns = jnp.pad(columns, [(0, n - self.in_features)] + [(0, 0)] * (rows.ndim - 1))[None]
        order = range(log_n) if self.increasing_stride else reversed(range(log_n))
        for log_stride in order:
            columns = _factor(columns, self._blocks_of(log_stride), 1 << log_stride)
        stacks, batch = self.twiddle.shape[0], columns.shape[2:]
        columns = jnp.broadcast_to(columns, (stacks, n, *batch)).reshape(stacks * n, *batch)
        wanted = 1 << (self.out_features - 1).bit_length()
        if n >= 2 * wanted:
            columns = jnp.mean(columns.reshape(-1, wanted, *batch), axis=0)
        y = jnp.moveaxis(columns[: self.out_features], 0, -1)
        return y.reshape(*x.shape[:-1], self.out_features)

    def _blocks_of(self, log_stride: int) -> Inexact[Array, "stacks #blocks stride 2 2"]:
        """The 2 x 2 blocks of one factor."""
        stride = 1 << log_stride
        if self.tied_weight:
            return self.twiddle[:, None, stride - 1 : 2 * stride - 1]
        own = self.twiddle[:, log_stride]
        return own.reshape(own.shape[0], -1, stride, 2, 2)

    def _translate(self, params: dict[str, Array]) -> dict[str, Array]:
        inner = {k.removeprefix("linmap."): v for k, v in params.items() if k.startswith("linmap.")}
        params = inner or dict(params)  # what stands outside of `linmap` in the source is not used
        if self.complex:
            params = {name: _native_complex(array) for name, array in params.items()}
        if "bias" in params and params["bias"].size == 1:  # the source: one number for all outputs
            params["bias"] = jnp.broadcast_to(params["bias"].reshape(1), (self.out_features,))
        return params


def _native_complex(array: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """Real and imaginary parts on a trailing axis of 2 joined; complex arrays stay."""
    if jnp.iscomplexobj(array) or array.shape[-1] != 2:
        return array
    return array[..., 0] + 1j * array[..., 1]


def _factor(
    columns: Inexact[Array, "#stacks n *batch"],
    t: Inexact[Array, "stacks #blocks stride 2 2"],
    stride: int,
) -> Inexact[Array, "stacks n *batch"]:
    """One butterfly factor: each 2 x 2 block applied to a pair of coordinates `stride` apart."""
    stacks, n, *batch = columns.shape
    pairs = columns.reshape(stacks, n // (2 * stride), 2, stride, *batch)
    first, second = pairs[:, :, 0], pairs[:, :, 1]

    def entry(i, j):
        own = jnp.expand_dims(t[..., i, j], range(3, 3 + len(batch)))
        if t.shape[1] < pairs.shape[1] or may_be_divided(columns):
            return own
        # Every pair has an entry of its own, whose gradient sums over the batch. Spread over the batch by
        # a product with ones, it does so by a matrix product: on a CPU three times as fast.
        return jnp.matmul(own, jnp.ones((1, *batch), t.dtype), precision=jax.lax.Precision.HIGHEST)

    upper = entry(0, 0) * first + entry(0, 1) * second
    lower = entry(1, 0) * first + entry(1, 1) * second
    return jnp.stack([upper, lower], axis=2).reshape(t.shape[0], n, *batch)


def _orthogonal(key: PRNGKeyArray, blocks: tuple[int, ...]) -> Inexact[Array, "*blocks 2 2"]:
    """Random rotations and reflections of the plane, as many of one kind as of the other."""
    angle_key, sign_key = jr.split(key)
    angle = jr.uniform(angle_key, blocks, maxval=2 * math.pi)
    sign = jr.rademacher(sign_key, blocks, dtype=angle.dtype)
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([sign * c, s], -1), jnp.stack([-sign * s, c], -1)], -2)


def _unitary(key: PRNGKeyArray, blocks: tuple[int, ...]) -> Inexact[Array, "*blocks 2 2"]:
    """Random unitary 2 x 2 matrices (Haar): three uniform phases, and a uniform squared sine."""
    angle_key, phase_key = jr.split(key)
    s2 = jr.uniform(angle_key, blocks)
    c, s = jnp.sqrt(1 - s2), jnp.sqrt(s2)
    alpha, psi, chi = jr.uniform(phase_key, (3, *blocks), maxval=2 * math.pi)
    first = jnp.stack([c * jnp.exp(1j * (alpha + psi)), s * jnp.exp(1j * (alpha + chi))], -1)
    second = jnp.stack([-s * jnp.exp(1j * (alpha - chi)), c * jnp.exp(1j * (alpha - psi))], -1)
    return jnp.stack([first, second], -2)
