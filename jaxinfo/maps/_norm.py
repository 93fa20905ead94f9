"""Penalties on a norm or on the spectral radius of a free matrix."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .._core import one_of
from ._base import AbstractSquareMap
from ._linear import AbstractTransposedMap
from ._numerics import at_least_single, frobenius
from ._options import Number, ordered_bounds


class BoundedNormLinear(AbstractTransposedMap):
    r"""A free matrix with a penalty that draws its norm into `[sigma_min, sigma_max]`.

    $$\text{reg\_error} = \max(\|W\|_p - \sigma_{max}, 0) + \max(\sigma_{min} - \|W\|_p, 0)$$

    **Arguments:**

    - `sigma_min`, `sigma_max`: bounds of the norm; `math.inf` for none above.
    - `p`: the matrix norm of $W$ as `(in_features, out_features)`: 1 (largest column sum), `math.inf`
        (largest row sum), 2 (largest singular value), `"fro"` or `"nuc"` (sum of singular values).
    - `entrywise`: take the $p$-norm of the entries as one vector instead; any $p \ge 1$ then.

    The weight is stored transposed, as in `Linear`; `from_matrix` takes any matrix, penalised or not.
    At the matrix 0 the Frobenius norm has gradient 0.

    **Source:** neuromancer.slim, whose program takes the entrywise norm.
    """

    sigma_min: float = eqx.field(static=True)
    sigma_max: float = eqx.field(static=True)
    p: Number | str = eqx.field(static=True)
    entrywise: bool = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        sigma_min: Number = 0.1,
        sigma_max: Number = 1.0,
        p: Number | str = 2,
        entrywise: bool = False,
    ):
        super().__init__(in_features, out_features, use_bias, key=key)
        self.sigma_min, self.sigma_max = ordered_bounds(sigma_min, sigma_max, least=0, finite=False)
        if not entrywise:
            one_of("p", p, (1, 2, math.inf, "fro", "nuc"))
        elif isinstance(p, str) or p < 1:
            raise ValueError(f"An entrywise norm takes a number `p` of at least 1; got {p!r}.")
        self.p, self.entrywise = p if isinstance(p, str) else float(p), entrywise

    @property
    def equation(self) -> str:
        p = self.p if isinstance(self.p, str) else f"{self.p:g}"
        norm = f"entrywise |W|_{p}" if self.entrywise else f"|W|_{p}"
        return f"W = A, penalty unless {self.sigma_min:g} <= {norm} <= {self.sigma_max:g}"

    def norm(self) -> Float[Array, ""]:
        """The norm of the matrix that the bounds are about."""
        W = at_least_single(self.effective_W())
        if self.p == "fro" or (self.entrywise and self.p == 2):
            return frobenius(W)
        return jnp.linalg.norm(jnp.ravel(W) if self.entrywise else W, ord=self.p)

    def reg_error(self) -> Float[Array, ""]:
        norm = self.norm()
        return jax.nn.relu(norm - self.sigma_max) + jax.nn.relu(self.sigma_min - norm)

    def violation(self) -> Float[Array, ""]:
        return self.reg_error()


class PowerBoundLinear(AbstractSquareMap):
    r"""A free square matrix with a penalty on its spectral radius: $\max(\rho(W) - p_{max}, 0)$.

    See `spectral_radius` for how it is found and what its gradient is. Unlike in the source, the
    penalty compares the radius itself, not its square, with the bound, and depends on no random
    vector. The matrix starts uniform in [0, 1), whose radius is about $n/2$: the penalty has work
    to do from the first step.

    **Arguments:**

    - `max_p`: the bound.
    - `pwr_iters`: at least so many steps of power iteration.

    **Source:** neuromancer.slim.
    """

    W: Float[Array, "n n"]
    max_p: float = eqx.field(static=True)
    pwr_iters: int = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        use_bias: bool = False,
        *,
        key: PRNGKeyArray,
        max_p: Number = 1.0,
        pwr_iters: int = 200,
    ):
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        if not max_p >= 0 or pwr_iters < 1:
            raise ValueError(
                f"`max_p` must be at least 0 and `pwr_iters` at least 1; got {max_p:g} and {pwr_iters}."
            )
        self.W = jr.uniform(key, (in_features, in_features))
        self.max_p = float(max_p)
        self.pwr_iters = int(pwr_iters)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self.W

    @property
    def equation(self) -> str:
        return f"W = A, penalty unless max |eigenvalue| <= {self.max_p:g}"

    def reg_error(self) -> Float[Array, ""]:
        return jax.nn.relu(spectral_radius(self.W, least_steps=self.pwr_iters) - self.max_p)

    def violation(self) -> Float[Array, ""]:
        return self.reg_error()

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        return {"W": W}  # every matrix is admitted; some are penalised


def spectral_radius(W: Float[Array, "n n"], *, least_steps: int = 1) -> Float[Array, ""]:
    r"""The largest $|\lambda|$ of a square matrix, by power iteration on the matrix itself.

    By Gelfand's formula $\rho = \lim \|W^k\|^{1/k}$. Squaring doubles $k$, so about 26 products reach a
    $k$ at which single precision cannot tell the rest, and no start vector is needed. Complex pairs
    and pairs $\pm\lambda$ are as easy as anything else, and a nilpotent matrix has radius 0.

    **Gradient:** with $P$ the spectral projector onto the dominant eigenvalues, $m$ of them,
    $\nabla \rho = \frac{\rho}{m} \left[(P W)^{\#}\right]^T$: for a simple eigenvalue or a complex pair,
    the derivative; for several of equal magnitude, the mean of theirs; 0 where $\rho = 0$.

    **Cost:** at most `max(26, log2(least_steps))` products of $n \times n$ matrices in float32, 55 in
    float64; the gradient one singular value decomposition more.
    """
    dtype = W.dtype
    W = at_least_single(W)
    squarings = max(-math.frexp(jnp.finfo(W.dtype).eps)[1] + 4, math.ceil(math.log2(least_steps)))
    return _spectral_radius(squarings, W).astype(dtype)


def _powers(squarings: int, W: Float[Array, "n n"]) -> tuple[Array, Array]:
    """`W**(2**squarings)` with its largest entry scaled to 1, and the logarithm of the radius."""

    def scaled(A):
        size = jnp.max(jnp.abs(A))
        alive = size > 0
        return A / jnp.where(alive, size, 1), jnp.where(alive, jnp.log(size), -jnp.inf)

    def square(state, step):
        A, log_radius = state
        A, log_size = scaled(A @ A)
        return (A, log_radius + log_size * 0.5 ** (step + 1)), None

    steps = jnp.arange(squarings, dtype=W.dtype)
    (A, log_radius), _ = jax.lax.scan(square, scaled(W), steps)
    return A, log_radius


@jax.custom_jvp
def _radius_of(W: Array, powers: tuple[Array, Array]) -> Array:
    return jnp.exp(powers[1])


def _spectral_radius(squarings: int, W: Float[Array, "n n"]) -> Float[Array, ""]:
    return _radius_of(W, jax.lax.stop_gradient(_powers(squarings, jax.lax.stop_gradient(W))))


@_radius_of.defjvp
def _radius_jvp(primals, tangents):
    W, powers = primals
    radius = jnp.exp(powers[1])
    U, s, Vt = jnp.linalg.svd(powers[0])
    kept = s > jnp.sqrt(jnp.finfo(W.dtype).eps) * s[0]
    both = kept[:, None] & kept[None, :]
    eye = jnp.eye(W.shape[0], dtype=W.dtype)
    # Right and left dominant subspaces U and V; P = U (V^T U)^-1 V^T, and K the two last factors.
    K = jnp.linalg.solve(jnp.where(both, Vt @ U, eye), jnp.where(kept[:, None], Vt, 0))
    block = jnp.where(both, K @ W @ U, eye)
    gradient = jnp.where(kept, U, 0) @ jnp.linalg.solve(block, K) / jnp.maximum(jnp.sum(kept), 1)
    gradient = jnp.where((radius > 0) & jnp.all(jnp.isfinite(gradient)), radius * gradient, 0)
    return radius, jnp.sum(gradient.T * tangents[0])
