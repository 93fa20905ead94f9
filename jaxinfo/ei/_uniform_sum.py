r"""The distribution of a weighted sum of independent uniform variables.

$S = \sum_i v_i u_i$ with $u_i$ uniform on $(-1, 1)$ has the characteristic function
$\varphi(t) = \prod_i \mathrm{sinc}(v_i t)$. On a period $P$ no shorter than its support, at
$t_k = 2 \pi k / P$ and for $|y| \le P / 2$,

$$F(y) - \tfrac12 = A_0(y) = \frac yP + \sum_{k \ge 1} \frac{\varphi(t_k)}{\pi k} \sin(t_k y).$$

A few variables much wider than all others together (*boxes*) would make this series slow. Each of
them is averaged over in closed form instead: with $A_q$ the $q$-fold integral of $A_0$,

$$A_q^{S + h u}(y) = \frac{A_{q+1}^S(y + h) - A_{q+1}^S(y - h)}{2 h},$$

and the series of $A_q$ falls by another $t_k$ for each box. Beyond the support $A_q$ is the
polynomial $\tfrac12 \mathrm{sgn}(y)\, E (y - S)^q / q!$, which is put in its place at every level, so
that widths of very different size cancel no digits. One box alone is exact without any term; few
variables are summed piece by polynomial piece.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_DOMINANT = 0.25  # a box is at least this much of the support of what is narrower


class Precision(NamedTuple):
    """How much work a dtype deserves: static numbers."""

    boxes: int  # most boxes
    few: int  # terms where there are boxes
    many: int  # terms where there are none
    span: float  # period in standard deviations, where the support is longer


def precision(dtype: jnp.dtype) -> Precision:
    """Single precision has no digits for more than one box, nor need of it."""
    double = jnp.finfo(dtype).nmant > 30
    return Precision(3, 128, 48, 14.0) if double else Precision(1, 64, 24, 12.0)


class Boxes(eqx.Module):
    """The widest variables of a sum, and what their choice says about the rest."""

    widths: Float[Array, " boxes"]  # descending; 0 where not used
    order: Int[Array, " boxes"]  # which variables they are
    used: Bool[Array, " boxes"]
    period: Float[Array, ""]  # of the rest


def choose_boxes(v: Float[Array, " n"], size: Precision) -> Boxes:
    """Take out as many of the widest variables as dominate the rest."""
    width = jnp.abs(v)
    fixed = jax.lax.stop_gradient(width)
    values, order = jax.lax.top_k(fixed, min(size.boxes, v.shape[0]))
    rank = jnp.arange(order.shape[0])
    rest = jnp.stack([fixed.at[order[:m]].set(0) for m in range(len(order) + 1)])
    periods = _period(rest, size, jnp.where(values[0] > 0, values[0], 1))
    dominant = (2 * values >= _DOMINANT * periods[1:]) & (values > 0)
    count = jnp.max(jnp.where(dominant, rank + 1, 0))
    used = rank < count
    return Boxes(jnp.where(used, width[order], 0), order, used, periods[count])


def no_boxes(v: Float[Array, " n"], size: Precision) -> Boxes:
    """The whole sum as one series."""
    none = jnp.zeros(0, v.dtype)
    period = _period(jax.lax.stop_gradient(jnp.abs(v)), size, jnp.ones((), v.dtype))
    return Boxes(none, none.astype(int), none.astype(bool), period)


def _period(v: Array, size: Precision, scale: Array) -> Array:
    support, deviation = 2 * jnp.sum(v, axis=-1), jnp.sqrt(jnp.sum(v**2, axis=-1) / 3)
    # What is narrower than rounding can tell from 0 gets a width that rounding can tell.
    floor = 32 * jnp.finfo(v.dtype).eps * scale
    return jnp.maximum(jnp.minimum(support, size.span * deviation), floor)


def all_comparable(v: Float[Array, " n"], size: Precision) -> Bool[Array, ""]:
    """Whether no variable would be a box, in the sum of all or of all but any one."""
    width = jax.lax.stop_gradient(jnp.abs(v))
    if v.shape[0] <= size.boxes + 2:
        return jnp.array(False)
    values, order = jax.lax.top_k(width, size.boxes + 1)
    rest = jnp.stack([width.at[order[: m + 1]].set(0) for m in range(1, size.boxes + 1)])
    return jnp.all(2 * values[:-1] < _DOMINANT * _period(rest, size, jnp.zeros(())))


class Sum(eqx.Module):
    """One sum: its boxes, and for the rest of it the series, its period and its even moments."""

    boxes: Float[Array, " boxes"]
    used: Bool[Array, " boxes"]
    t: Float[Array, " terms"]
    phi: Float[Array, " terms"]
    period: Float[Array, ""]
    variance: Float[Array, ""]
    fourth: Float[Array, ""]

    def distribution(
        self, edges: Float[Array, " edges"], shifts: Float[Array, " shifts"]
    ) -> Float[Array, "shifts edges"]:
        """$F(\\text{edge} - \\text{shift}) - 1/2$; edges are finite."""
        count = jnp.sum(self.used)
        amplitude = self.phi / self.t ** (count + 1) * (2 / self.period)
        at_shift = self.t * shifts[:, None]
        left = jnp.concatenate([jnp.cos(at_shift), jnp.sin(at_shift)], axis=-1)
        left = left * jnp.tile(amplitude, 2)
        # Row q holds every sum of plus or minus the first q boxes, the last of them fastest.
        offsets = [jnp.zeros(1, edges.dtype)]
        for q in range(self.boxes.shape[0]):
            h, last = self.boxes[q], offsets[-1]
            offsets.append(jnp.stack([last + h, last - h], axis=-1).ravel())

        corners = (edges + offsets[-1][:, None]).ravel()
        at_corner = self.t[:, None] * corners - count * (math.pi / 2)
        right = jnp.concatenate([jnp.sin(at_corner), -jnp.cos(at_corner)])
        series = jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
        y = corners - shifts[:, None]
        outer = jnp.abs(y) >= self.period / 2
        near = jnp.where(outer, 0, y)
        inside = series + _pick(count, [f(near) for f in self._polynomials()])
        orders = range(self.boxes.shape[0] + 1)
        beyond = _pick(count, [_beyond(q, y, self.variance) for q in orders])
        # $A_q$ of the rest and the boxes from number q on, from the narrowest box to the widest.
        a = jnp.where(outer, beyond, inside).reshape(shifts.shape[0], -1, edges.shape[0])
        for q in reversed(range(self.boxes.shape[0])):
            h, used = self.boxes[q], self.used[q]
            above, below = a[:, 0::2], a[:, 1::2]
            a = jnp.where(used, (above - below) / jnp.where(used, 2 * h, 1), above)
            y = edges + offsets[q][:, None] - shifts[:, None, None]
            support = jnp.sum(self.boxes[q:]) + self.period / 2
            variance = self.variance + jnp.sum(self.boxes[q:] ** 2) / 3
            a = jnp.where(used & (jnp.abs(y) >= support), _beyond(q, y, variance), a)
        return a[:, 0]

    def _polynomials(self) -> list[Callable[[Array], Array]]:
        """The polynomials under the series of $A_0, A_1, \\dots$: they match at half a period."""
        p, s2, s4 = self.period, self.variance, self.fourth
        c1 = p / 12 + s2 / (2 * p)
        c3 = ((p**4 / 16 + 1.5 * p**2 * s2 + s4) / 48 - p**4 / 3840 - c1 * p**3 / 48) * 2 / p
        return [
            lambda y: y / p,
            lambda y: y**2 / (2 * p) + c1,
            lambda y: y**3 / (6 * p) + c1 * y,
            lambda y: y**4 / (24 * p) + c1 * y**2 / 2 + c3,
        ][: self.boxes.shape[0] + 1]

    def truncation(self, widths: Float[Array, " n"]) -> Float[Array, ""]:
        """A bound on what the terms left out add to the distribution function."""
        t = self.t[-1]
        falls = jnp.minimum(1 / jnp.maximum(jnp.abs(widths) * t, 1), 1)
        power = jnp.maximum(jnp.sum(falls < 1) + jnp.sum(self.used), 1)
        boxes = jnp.prod(jnp.where(self.used, 1 / (t * jnp.where(self.used, self.boxes, 1)), 1))
        return jnp.prod(falls) * boxes / (math.pi * power)


def _pick(index: Array, values: list[Array]) -> Array:
    return values[0] if len(values) == 1 else jax.lax.select_n(index, *values)


def _beyond(q: int, y: Array, variance: Array) -> Array:
    """$A_q$ outside the support, for a sum of this variance."""
    half = jnp.sign(y) / 2
    match q:
        case 0:
            return half
        case 1:
            return half * y
        case 2:
            return half * (y**2 + variance) / 2
        case _:
            return half * y * (y**2 + 3 * variance) / 6


def frequencies(period: Float[Array, ""], terms: int) -> Float[Array, " terms"]:
    """The $t_k$ of a period, through which no gradient flows: the sum does not depend on it."""
    k = jnp.arange(1, terms + 1, dtype=period.dtype)
    return 2 * math.pi * k / jax.lax.stop_gradient(period)


def sinc(t: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """$\\sin(t) / t$, with finite derivatives at 0 and where $t^2$ underflows."""
    small = jnp.abs(t) < 1e-2
    square = jnp.where(small, t, 0) ** 2
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42))
    large = jnp.where(small, 1, t)
    return jnp.where(small, series, jnp.sin(large) / large)


def all_but_one(factors: Float[Array, "n terms"]) -> Float[Array, "n terms"]:
    """For each row, the product of the other rows, without dividing by a factor that may be 0."""
    before, after = jnp.cumprod(factors[:-1], axis=0), jnp.cumprod(factors[:0:-1], axis=0)[::-1]
    one = jnp.ones_like(factors[:1])
    return jnp.concatenate([one, before]) * jnp.concatenate([after, one])
