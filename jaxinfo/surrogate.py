r"""Floor 0: spikes with a gradient.

A spike $1[v > \text{thr}]$ has derivative 0; a surrogate puts another in its place. Each of the
eight here can be used in three ways: as the documented tuple of functions, as a spike function that
`jax.grad` differentiates, and as an Equinox module whose slope is learned.

>>> import jax
>>> spike, d_spike = arctan_estimator()  # 1 and 2: the tuple; its first entry has the gradient
>>> f"{jax.grad(spike)(1.5, 1.0):.4f} {d_spike(1.5, thr=1.0):.4f}"
'0.0918 0.0918'
>>> layer = Arctan(alpha=3.0)  # 3: a module; `layer.alpha` is a leaf, trained with the rest
>>> float(layer(1.5, 1.0)), bool(jax.grad(lambda layer: layer(1.5, 1.0))(layer).alpha > 0)
(1.0, True)
"""

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ._core import as_inexact, nan_where, public
from .activations import spike

SpikeFunction = Callable[..., Array]
Parameter = Float[Array, ""]


class AbstractSurrogate(eqx.Module):
    r"""The hard spike $1[v > \text{thr}]$, differentiated as if it were a smooth step.

    `surrogate(v, thr)` is exactly 0 or 1, and 0 at the threshold. Its derivative with respect to
    $v$ (and, with the other sign, the threshold) is `derivative(v - thr)`; with respect to the
    parameters it is that of `smooth(v - thr)`, so that a slope can be learned. Parameters are
    positive numbers; nothing keeps a learned one from crossing 0.
    """

    @abc.abstractmethod
    def smooth(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The smooth step, up to a constant, at the distance `x` from the threshold."""

    @abc.abstractmethod
    def derivative(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """What stands for the derivative of the spike at the distance `x` from the threshold."""

    @public
    def __call__(self, v: ArrayLike, thr: ArrayLike = 0.0) -> Array:
        """1 where `v` exceeds `thr`, else 0."""
        return _spike(self, as_inexact(v) - thr)


@jax.custom_jvp
def _spike(surrogate: AbstractSurrogate, x: Array) -> Array:
    return spike(x)


@_spike.defjvp
def _spike_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (surrogate, x), (d_surrogate, dx) = primals, tangents
    finite = jnp.where(jnp.isinf(x), 0, x)  # no parameter matters at infinity
    _, by_parameters = jax.jvp(lambda s: s.smooth(finite), (surrogate,), (d_surrogate,))
    return spike(x), surrogate.derivative(x) * dx + by_parameters.astype(x.dtype)


def _parameter(value: ArrayLike) -> Array:
    return as_inexact(jax.device_put(value))  # said aloud, for those who forbid silent transfers


class StraightThrough(AbstractSurrogate):
    """Derivative 1 everywhere: the step is taken for the identity.

    **Source:** Bengio, Leonard and Courville (2013), arXiv:1308.3432.

    >>> import jax, jax.numpy as jnp
    >>> jax.vmap(jax.grad(StraightThrough()))(jnp.array([-5.0, 0.0, 5.0]))
    Array([1., 1., 1.], dtype=float32)
    """

    @public
    def smooth(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return x

    @public
    def derivative(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return nan_where(jnp.isnan(x), jnp.ones_like(x))


class Triangular(AbstractSurrogate):
    r"""Derivative $\max(0, 1 - \alpha |x|)$: 1 at the threshold, 0 from a distance $1/\alpha$ on.

    **Source:** Bellec et al. (2018), arXiv:1803.09574.

    >>> Triangular().derivative(jnp.array([-0.25, 0.0, 0.5]))
    Array([0.5, 1. , 0. ], dtype=float32)
    """

    alpha: Parameter = eqx.field(converter=_parameter, default=2.0)

    @public
    def smooth(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        alpha = self.alpha.astype(x.dtype)
        near = jnp.clip(x, -1 / alpha, 1 / alpha)
        return near - alpha * near * jnp.abs(near) / 2

    @public
    def derivative(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.maximum(0, 1 - self.alpha.astype(x.dtype) * jnp.abs(x))


class PiecewiseQuadratic(AbstractSurrogate):
    r"""Derivative $\max(0, \beta - \beta^2 |x|)$: a triangle of area 1, steeper as it narrows.

    **Source:** Esser et al. (2016), arXiv:1603.08270.

    >>> PiecewiseQuadratic().derivative(jnp.array([-0.5, 0.0, 1.0]))
    Array([0.5, 1. , 0. ], dtype=float32)
    """

    beta: Parameter = eqx.field(converter=_parameter, default=1.0)

    @public
    def smooth(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        near = jnp.clip(self.beta.astype(x.dtype) * x, -1, 1)
        return near - near * jnp.abs(near) / 2

    @public
    def derivative(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        beta = self.beta.astype(x.dtype)
        return beta * jnp.maximum(0, 1 - beta * jnp.abs(x))


class Arctan(AbstractSurrogate):
    r"""Derivative $\frac{1}{\pi} \frac{1}{1 + (\pi \frac{\alpha}{2} x)^2}$.

    `smooth` is $\frac{1}{\pi} \arctan(\pi \frac{\alpha}{2} x)$. Both are as documented by
    ngclearn; mind that the derivative of the one is $\pi \alpha / 2$ times the other.

    **Source:** Fang et al. (2021), arXiv:2007.05785.

    >>> Arctan().derivative(jnp.array([0.0, 1e30])) * jnp.pi
    Array([1., 0.], dtype=float32)
    """

    alpha: Parameter = eqx.field(converter=_parameter, default=2.0)

    @public
    def smooth(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.arctan(jnp.pi * self.alpha.astype(x.dtype) / 2 * x) / jnp.pi

    @public
    def derivative(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return 1 / (1 + jnp.square(jnp.pi * self.alpha.astype(x.dtype) / 2 * x)) / jnp.pi


@public
class SecantLIF(AbstractSurrogate):
    r"""Derivative $c_1 c_2 \operatorname{sech}^2(c_2 x)$ for $x > 0$, else 0.

    For leaky integrate-and-fire neurons, where $x$ is the input current (less the threshold).
    `smooth` is $\max(0, c_1 \tanh(c_2 x))$.

    **Source:** Samadi, Lillicrap and Tweed (2017), *Neural Computation* 29:578.

    >>> SecantLIF().derivative(jnp.array([0.0, 1e-6, 1e30]))
    Array([0.    , 0.0656, 0.    ], dtype=float32)
    """

    c1: Parameter = eqx.field(converter=_parameter, default=0.82)
    c2: Parameter = eqx.field(converter=_parameter, default=0.08)

    @public
    def smooth(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        c1, c2 = self.c1.astype(x.dtype), self.c2.astype(x.dtype)
        return jnp.where(x <= 0, 0, c1 * jnp.tanh(c2 * x))

    @public
    def derivative(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        c1, c2 = self.c1.astype(x.dtype), self.c2.astype(x.dtype)
        return jnp.where(x <= 0, 0, c1 * c2 * (1 - jnp.square(jnp.tanh(c2 * x))))


class FastSigmoid(AbstractSurrogate):
    r"""Derivative $1 / (1 + \beta |x|)^2$; `smooth` is $x / (1 + \beta |x|)$.

    **Source:** Zenke and Ganguli (2018), arXiv:1705.11146.

    >>> FastSigmoid().derivative(jnp.array([0.0, 0.1]))
    Array([1.  , 0.25], dtype=float32)
    """

    beta: Parameter = eqx.field(converter=_parameter, default=10.0)

    @public
    def smooth(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        beta = self.beta.astype(x.dtype)
        far = jnp.abs(x) > 1  # there the same over x, or it would be infinite over infinite
        near, rest = jnp.where(far, 0, x), jnp.where(far, x, 1)
        beyond = jnp.sign(x) / (1 / jnp.abs(rest) + beta)
        return jnp.where(far, beyond, near / (1 + beta * jnp.abs(near)))

    @public
    def derivative(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return 1 / jnp.square(1 + self.beta.astype(x.dtype) * jnp.abs(x))


class Gaussian(AbstractSurrogate):
    r"""Derivative $e^{-x^2 / 2\sigma^2} / (\sqrt{2\pi} \sigma)$; `smooth` is the normal integral.

    **Source:** Yin, Corradi and Bohte (2021), arXiv:2103.12593.

    >>> Gaussian(sigma=1.0).derivative(jnp.array([0.0, 1.0])).round(4)
    Array([0.3989, 0.242 ], dtype=float32)
    """

    sigma: Parameter = eqx.field(converter=_parameter, default=0.5)

    @public
    def smooth(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        # As `jax.scipy.stats.norm.cdf`, which knows no half precision.
        return jax.lax.erfc(-x / (self.sigma.astype(x.dtype) * math.sqrt(2))) / 2

    @public
    def derivative(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        sigma = self.sigma.astype(x.dtype)
        return jnp.exp(-jnp.square(x / sigma) / 2) / (jnp.sqrt(2 * jnp.pi).astype(x.dtype) * sigma)


class Boxcar(AbstractSurrogate):
    r"""Derivative 1 where $|x| \le$ `window`, else 0.

    **Source:** Hubara et al. (2016), arXiv:1602.02830.

    >>> Boxcar().derivative(jnp.array([-0.5, 0.0, 0.6]))
    Array([1., 1., 0.], dtype=float32)
    """

    window: Parameter = eqx.field(converter=_parameter, default=0.5)

    @public
    def smooth(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        window = self.window.astype(x.dtype)
        return jnp.clip(x, -window, window)

    @public
    def derivative(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        inside = jnp.abs(x) <= self.window.astype(x.dtype)
        return nan_where(jnp.isnan(x), inside.astype(x.dtype))


def _estimator(
    kind: type[AbstractSurrogate], get_surr_fx: bool, smooth: bool = True
) -> tuple[SpikeFunction, ...]:
    def spike_fx(v: ArrayLike, thr: ArrayLike = 0.0, *args: ArrayLike, **options: ArrayLike):
        return kind(*args, **options)(v, thr)

    def surr_fx(v: ArrayLike, thr: ArrayLike = 0.0, *args: ArrayLike, **options: ArrayLike):
        return kind(*args, **options).smooth(as_inexact(v) - thr)

    def d_spike_fx(v: ArrayLike, thr: ArrayLike = 0.0, *args: ArrayLike, **options: ArrayLike):
        return kind(*args, **options).derivative(as_inexact(v) - thr)

    if get_surr_fx:
        return spike_fx, (surr_fx if smooth else spike_fx), d_spike_fx
    return spike_fx, d_spike_fx


@public
def straight_through_estimator(get_surr_fx: bool = False) -> tuple[SpikeFunction, ...]:
    r"""The functions of `StraightThrough`: `(spike_fx, d_spike_fx)`, each of `(v, thr)`.

    `spike_fx` is $1[v > \text{thr}]$, `d_spike_fx` is 1.

    With `get_surr_fx`, `(spike_fx, surr_fx, d_spike_fx)`, where `surr_fx` is `spike_fx`.

    >>> spike_fx, d_spike_fx = straight_through_estimator()
    >>> spike_fx(jnp.array([0.5, 0.6]), 0.5), d_spike_fx(jnp.array([0.5, 0.6]), 0.5)
    (Array([0., 1.], dtype=float32), Array([1., 1.], dtype=float32))
    """
    return _estimator(StraightThrough, get_surr_fx, smooth=False)


@public
def triangular_estimator(get_surr_fx: bool = False) -> tuple[SpikeFunction, ...]:
    r"""The functions of `Triangular`: `(spike_fx, d_spike_fx)`, each of `(v, thr, alpha)`.

    `d_spike_fx` is $\max(0, 1 - \alpha |v - \text{thr}|)$.

    With `get_surr_fx`, `(spike_fx, surr_fx, d_spike_fx)`, where `surr_fx` is `spike_fx`.

    >>> triangular_estimator()[1](jnp.array([0.5, 0.75]), thr=0.5, alpha=2.0)
    Array([1. , 0.5], dtype=float32)
    """
    return _estimator(Triangular, get_surr_fx, smooth=False)


@public
def arctan_estimator(get_surr_fx: bool = False) -> tuple[SpikeFunction, ...]:
    r"""The functions of `Arctan`: `(spike_fx, d_spike_fx)`, each of `(v, thr, alpha)`.

    With $x = v - \text{thr}$, `d_spike_fx` is $1 / (\pi (1 + (\pi \alpha x / 2)^2))$ and `surr_fx`
    is $\arctan(\pi \alpha x / 2) / \pi$; see `Arctan` for the factor between them.

    With `get_surr_fx`, `(spike_fx, surr_fx, d_spike_fx)`.

    >>> arctan_estimator()[1](0.0) * jnp.pi
    Array(1., dtype=float32)
    """
    return _estimator(Arctan, get_surr_fx)


@public
def secant_lif_estimator(get_surr_fx: bool = False) -> tuple[SpikeFunction, ...]:
    r"""The functions of `SecantLIF`: `(spike_fx, d_spike_fx)`, each of `(j, thr, c1, c2)`.

    With $x = j - \text{thr}$, `d_spike_fx` is $c_1 c_2 \operatorname{sech}^2(c_2 x)$ for $x > 0$, else
    0, and `surr_fx` is $\max(0, c_1 \tanh(c_2 x))$.

    With `get_surr_fx`, `(spike_fx, surr_fx, d_spike_fx)`.

    >>> secant_lif_estimator()[1](jnp.array([-1.0, 0.0]))
    Array([0., 0.], dtype=float32)
    """
    return _estimator(SecantLIF, get_surr_fx)


@public
def fast_sigmoid_estimator(get_surr_fx: bool = False) -> tuple[SpikeFunction, ...]:
    r"""The functions of `FastSigmoid`, each of `(v, thr, beta)`; in the order of the others.

    `d_spike_fx` is $1 / (1 + \beta |v - \text{thr}|)^2$.

    >>> fast_sigmoid_estimator()[1](jnp.array([0.1]), beta=10.0)
    Array([0.25], dtype=float32)
    """
    return _estimator(FastSigmoid, get_surr_fx)


@public
def gaussian_estimator(get_surr_fx: bool = False) -> tuple[SpikeFunction, ...]:
    r"""The functions of `Gaussian`, each of `(v, thr, sigma)`; in the order of the others.

    `d_spike_fx` is the normal density of $v - \text{thr}$ with deviation $\sigma$.

    >>> gaussian_estimator(True)[1](jnp.array([1.0]), thr=1.0)
    Array([0.5], dtype=float32)
    """
    return _estimator(Gaussian, get_surr_fx)


@public
def piecewise_quadratic_estimator(get_surr_fx: bool = False) -> tuple[SpikeFunction, ...]:
    r"""The functions of `PiecewiseQuadratic`, each of `(v, thr, beta)`; ordered as the others.

    `d_spike_fx` is $\max(0, \beta - \beta^2 |v - \text{thr}|)$.

    >>> piecewise_quadratic_estimator()[1](jnp.array([0.5]))
    Array([0.5], dtype=float32)
    """
    return _estimator(PiecewiseQuadratic, get_surr_fx)


@public
def boxcar_estimator(get_surr_fx: bool = False) -> tuple[SpikeFunction, ...]:
    r"""The functions of `Boxcar`, each of `(v, thr, window)`; in the order of the others.

    `d_spike_fx` is $1[|v - \text{thr}| \le \text{window}]$.

    >>> boxcar_estimator()[1](jnp.array([0.0, 3.0]), window=2.0)
    Array([1., 0.], dtype=float32)
    """
    return _estimator(Boxcar, get_surr_fx)
