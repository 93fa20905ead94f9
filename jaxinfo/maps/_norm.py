"""Penalties on a norm or on the spectral radius of a free matrix."""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Inexact, PRNGKeyArray

from .._core import at_unit_size, one_of, over_largest
from ._base import AbstractSquareMap
from ._linear import AbstractTransposedMap
from ._numerics import at_least_single, entrywise, frobenius
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
    At the matrix 0 the Frobenius norm and the entrywise ones have gradient 0. No norm over- or
    underflows unless it is itself out of range.

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
        if self.p == "fro":
            return frobenius(W)
        p = self.p
        if self.entrywise and not isinstance(p, str) and p != math.inf:
            return at_unit_size(lambda W: entrywise(W, p), W)
        shaped = jnp.ravel(W) if self.entrywise else W
        return at_unit_size(lambda W: jnp.linalg.norm(W, ord=p), shaped)

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
    and pairs $\pm\lambda$ are as easy as anything else, and a nilpotent matrix has radius 0. Powers of
    a defective matrix, such as a Jordan block, lose the eigenvalues beside what grows on top of
    them; there the traces hold them: $\rho \ge |\operatorname{tr} W^k / n|^{1/k}$ for each $k$. What is
    found is the radius of a matrix that differs from `W` by rounding. NaN for a matrix with NaN or
    infinite entries.

    **Gradient:** with $P$ the spectral projector onto the dominant eigenvalues, $m$ of them,
    $\nabla \rho = \frac{\rho}{m} \left[(P W)^{\#}\right]^T$: for a simple eigenvalue or a complex pair,
    the derivative; for several of equal magnitude, the mean of theirs. Dominant is what reaches
    $\rho$ up to half the digits; where those cannot be told from the others, as in a defective
    matrix, up to a tenth; or all. 0 where $\rho = 0$, and where no finite number is its gradient.

    **Cost:** at most `max(26, log2(least_steps))` products of $n \times n$ matrices in float32, 55 in
    float64; the gradient 150 or 300 inverses.
    """
    dtype = W.dtype
    W = at_least_single(W)
    squarings = max(-math.frexp(jnp.finfo(W.dtype).eps)[1] + 4, math.ceil(math.log2(least_steps)))
    return _radius_of(squarings, _balanced(W)).astype(dtype)


def _balanced(W: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """A similar matrix whose rows and columns, off the diagonal, are of about one size.

    Osborne (1960), *On pre-conditioning of matrices*, all coordinates at once and half of each step.
    By powers of two, so that nothing is rounded. What stands on one side of the diagonal alone
    could be made as small as one likes; it is left at a share of the diagonal.
    """
    info = jnp.finfo(W.dtype)
    size = over_largest(jax.lax.stop_gradient(jnp.abs(W)))
    floor = 1e-3 * jnp.max(jnp.diag(size)) + info.eps
    sides = size - jnp.diag(jnp.diag(size))
    furthest = info.maxexp // 2 - 4  # two such powers of two have a product and a ratio

    def step(_: Array, exponent: Array) -> Array:
        now = sides * jnp.exp2(exponent[None, :] - exponent[:, None])
        rows, columns = (jnp.sum(now, axis=axis) + floor for axis in (1, 0))
        moved = exponent + jnp.round((jnp.log2(rows) - jnp.log2(columns)) / 4)
        return jnp.clip(moved, -furthest, furthest)

    steps = info.maxexp.bit_length() + 4  # each halves how many powers of two are missing
    exponent = jax.lax.fori_loop(0, steps, step, jnp.zeros(W.shape[0], W.dtype))
    return W * jnp.exp2(exponent[None, :] - exponent[:, None])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _radius_of(squarings: int, W: Float[Array, "n n"]) -> Float[Array, ""]:
    """The limit of `|W**k| ** (1 / k)`, with the sizes kept as logarithms."""

    def logarithm(size: Array) -> Array:
        return jnp.where(size > 0, jnp.log(jnp.where(size > 0, size, 1)), -jnp.inf)

    def scaled(A: Array) -> tuple[Array, Array]:
        size = jnp.max(jnp.abs(A), initial=0)
        return A / jnp.where(size > 0, size, 1), logarithm(size)

    def least(A: Array) -> Array:
        """The logarithm of the mean eigenvalue, where it is more than the rounding of the sum."""
        mean = jnp.abs(jnp.trace(A)) / A.shape[0]
        return logarithm(jnp.where(mean > 0, mean, 0))

    def square(state, step):
        A, log_radius, log_least = state
        A, log_size = scaled(A @ A)
        share = 0.5 ** (step + 1)
        log_radius = log_radius + log_size * share
        return (A, log_radius, jnp.maximum(log_least, log_radius + least(A) * share)), None

    A, log_size = scaled(W)
    start = A, log_size, log_size + least(A)
    steps = jnp.arange(squarings, dtype=W.dtype)
    (_, log_radius, log_least), _ = jax.lax.scan(square, start, steps)
    radius = jnp.exp(jnp.maximum(log_radius, log_least))
    return jnp.where(jnp.all(jnp.isfinite(W)), radius, jnp.nan)


@_radius_of.defjvp
def _radius_jvp(squarings, primals, tangents):
    (W,), (V,) = primals, tangents
    radius = _radius_of(squarings, W)
    eye = jnp.eye(W.shape[0], dtype=W.dtype)
    # From narrow to wide: the first circle that divides the eigenvalues.
    shares = jnp.array([1 - math.sqrt(jnp.finfo(W.dtype).eps), 0.9, 0], W.dtype)
    projectors = jax.vmap(lambda share: _outside_circle(W, radius * share))(shares)
    P = projectors[jnp.argmax(jax.vmap(_is_projector)(projectors))]
    dominant = jnp.maximum(jnp.round(jnp.trace(P)), 1)
    gradient = radius / dominant * jnp.linalg.solve(W @ P + radius * (eye - P), P).T
    gradient = jnp.where(jnp.all(jnp.isfinite(gradient)) | jnp.isnan(radius), gradient, 0)
    return radius, jnp.sum(gradient * V)


def _outside_circle(W: Float[Array, "n n"], radius: Float[Array, ""]) -> Float[Array, "n n"]:
    r"""The projector onto the eigenvectors outside a circle round 0, along those inside.

    $(W - r)^{-1} (W + r)$ has the outer eigenvalues in the right half plane, so its sign, by Newton's
    iteration (Roberts 1980), is 1 on them and -1 on the others.
    """
    eye = jnp.eye(W.shape[0], dtype=W.dtype)

    def newton(_: Array, A: Array) -> Array:
        return (A + jnp.linalg.inv(A)) / 2

    start = jnp.linalg.solve(W - radius * eye, W + radius * eye)
    sign = jax.lax.fori_loop(0, 2 * jnp.finfo(W.dtype).nmant, newton, start)
    return (eye + sign) / 2


def _is_projector(P: Float[Array, "n n"]) -> Bool[Array, ""]:
    """Whether a matrix is its own square, up to rounding, and not 0."""
    miss, size = jnp.max(jnp.abs(P @ P - P)), jnp.max(jnp.abs(P))
    return (miss < 1e-2 * jnp.maximum(size, 1)) & (jnp.trace(P) > 0.5)
