"""Maps constant along their diagonals, applied by the fast Fourier transform."""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .._core import public
from ._base import AbstractLinearMap, AbstractSquareMap
from ._numerics import at_least_single, largest, uniform


@public
class ToeplitzLinear(AbstractLinearMap):
    r"""$W_{ij} = t_{j - i}$: a convolution with zero padding, in $O(n \log n)$ per vector.

    `diagonals` holds $t$ from the lower left corner to the upper right one. `from_matrix` takes the
    mean of each diagonal.

    **Reference:** Gray (2006), *Toeplitz and circulant matrices: a review*.
    """

    diagonals: Float[Array, " diagonals"]

    _fast = True

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.diagonals = uniform(key, (in_features + out_features - 1,), in_features)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self.diagonals[self._diagonal_of_entry()]

    @property
    def equation(self) -> str:
        return "W_ij = t_(j - i)"

    def violation(self) -> Float[Array, ""]:
        W = self.effective_W()
        return largest(W[1:, 1:] - W[:-1, :-1])

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        # Entry j is entry j + in - 1 of the full convolution; what wraps around lands before it.
        size = 1 << (self.diagonals.size - 1).bit_length()
        y = _circular_convolution(x, self.diagonals, size)
        return y[..., self.in_features - 1 : self.diagonals.size]

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        at = self._diagonal_of_entry()
        count = jnp.zeros(self.diagonals.size, W.dtype).at[at].add(1)
        return {"diagonals": jnp.zeros(self.diagonals.size, W.dtype).at[at].add(W) / count}

    def _diagonal_of_entry(self) -> Array:
        rows, columns = jnp.arange(self.in_features), jnp.arange(self.out_features)
        return columns[None, :] - rows[:, None] + self.in_features - 1


@public
class CirculantLinear(AbstractSquareMap):
    r"""$W_{ij} = c_{(j - i) \bmod n}$: a circular convolution, in $O(n \log n)$ per vector.

    `c` is the first row; its discrete Fourier transform holds the eigenvalues. `from_matrix` takes
    the mean of each wrapped diagonal.

    **Reference:** as `ToeplitzLinear`.
    """

    c: Float[Array, " n"]

    _fast = True

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.c = uniform(key, (in_features,), in_features)

    def effective_W(self) -> Float[Array, "{self.in_features} {self.out_features}"]:
        return self.c[self._diagonal_of_entry()]

    @property
    def equation(self) -> str:
        return "W_ij = c_((j - i) mod n)"

    def violation(self) -> Float[Array, ""]:
        W = self.effective_W()
        return largest(jnp.roll(W, (1, 1), (0, 1)) - W)

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        return _circular_convolution(x, self.c, self.in_features)

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        n = self.in_features
        sums = jnp.zeros(n, W.dtype).at[self._diagonal_of_entry()].add(W)
        return {"c": sums / n}

    def _diagonal_of_entry(self) -> Array:
        n = self.in_features
        return (jnp.arange(n)[None, :] - jnp.arange(n)[:, None]) % n


def _circular_convolution(
    x: Inexact[Array, "*batch n"], kernel: Float[Array, " k"], size: int
) -> Inexact[Array, "*batch {size}"]:
    if jnp.iscomplexobj(x):
        real, imaginary = (_circular_convolution(part, kernel, size) for part in (x.real, x.imag))
        return real + 1j * imaginary
    spectrum = jnp.fft.rfft(at_least_single(x), size) * jnp.fft.rfft(at_least_single(kernel), size)
    return jnp.fft.irfft(spectrum, size).astype(jnp.result_type(x, kernel))
