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

All $A_q$ are taken relative to their value at an *anchor* $r$ near the edges that are asked for: with
$\sin a - \sin b = 2 \sin \frac{a - b}2 \cos \frac{a + b}2$, cells much narrower than the sum keep all
their digits. Lengths inside `Sum` are in units of the period.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._waves import product, sincs, waves

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
    return Precision(3, 96, 48, 15.0) if double else Precision(1, 48, 24, 12.0)


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
    values, order = jax.lax.top_k(width, size.boxes + 1)
    rest = jnp.stack([width.at[order[: m + 1]].set(0) for m in range(1, size.boxes + 1)])
    return jnp.all(2 * values[:-1] < _DOMINANT * _period(rest, size, jnp.zeros(())))


class Sum(eqx.Module):
    """One sum: its boxes, and for the rest of it the series, its period and its even moments.

    Lengths are in units of the period. Many sums may share what they have in common.
    """

    boxes: Float[Array, "*#rows boxes"]
    used: Bool[Array, "*#rows boxes"]
    phi: Float[Array, "*#rows terms"]
    period: Float[Array, "*#rows"]
    variance: Float[Array, "*#rows"]
    fourth: Float[Array, "*#rows"]

    def distribution(
        self, steps: Float[Array, " edges"], anchor: Float[Array, ""], shifts: Float[Array, " s"]
    ) -> Float[Array, "s edges"]:
        """$F(r + \\text{step} - \\text{shift}) - F(r - \\text{shift})$ with $r$ the anchor."""
        terms, most, p = self.phi.shape[-1], self.boxes.shape[0], self.period
        d, r, s = steps / p, anchor / p, shifts / p
        count = jnp.sum(self.used)
        # Row q holds every sum of plus or minus the first q boxes, the last of them fastest.
        offsets = [jnp.zeros(1, p.dtype)]
        for h in self.boxes:
            offsets.append(jnp.stack([offsets[-1] + h, offsets[-1] - h], axis=-1).ravel())
        corner = offsets[-1]
        # The series of A_c at the anchor, and what each edge adds to it.
        t = 2 * math.pi * jnp.arange(1, terms + 1, dtype=p.dtype)
        amplitude = 2 * self.phi / t
        for used in self.used:
            amplitude = amplitude / jnp.where(used, t, 1)
        left = jnp.concatenate([x * amplitude for x in _turned(waves(s, terms), count)], axis=-1)
        cos, sin = waves((d / 2 + r + corner[:, None]).ravel(), terms)
        slope = jnp.tile(2 * waves(d / 2, terms)[1], (corner.shape[0], 1))
        at_cos, at_sin = waves(r + corner, terms)
        right = jnp.concatenate(
            [
                jnp.concatenate([cos * slope, at_sin]),
                jnp.concatenate([sin * slope, -at_cos]),
            ],
            axis=-1,
        )
        series = jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
        split = corner.shape[0] * d.shape[0]
        a = series[:, :split].reshape(-1, corner.shape[0], d.shape[0])
        at = series[:, split:, None]
        y, y0 = _places(d, r, s, corner)
        inner = _inside(most, count, self.variance, self.fourth)
        # Not as a sum of what follows: an anchor far outside would drown the value at the edge.
        level = a + at + _value(inner, y)
        a, at = a + _rise(inner, y, y0, d), at + _value(inner, y0)
        # A_q of the rest and the boxes from number q on, from the narrowest box to the widest.
        outer = _beyond(most, count, self.variance)
        a, at = _settle(a, at, level, y, y0, d, jnp.full_like(p, 0.5), outer)
        support, variance = 0.5, self.variance
        for q in reversed(range(most)):
            h, used = self.boxes[q], self.used[q]
            wide = jnp.where(used, 2 * h, 1)
            a, at = (jnp.where(used, (x[:, 0::2] - x[:, 1::2]) / wide, x[:, 0::2]) for x in (a, at))
            support, variance = support + h, variance + h**2 / 3
            y, y0 = _places(d, r, s, offsets[q])
            # Without a box at this place, the level below was settled already.
            outer = _beyond(q, jnp.asarray(q), variance)
            a, at = _settle(a, at, a + at, y, y0, d, jnp.where(used, support, jnp.inf), outer)
        return a[:, 0]

    def truncation(self, decay: Float[Array, "*n"], power: Int[Array, "*n"]) -> Float[Array, "*n"]:
        """A bound on what the terms left out add to the distribution function.

        `decay` bounds the last factor of the rest, which falls with that `power` of the frequency.
        """
        t = 2 * math.pi * self.phi.shape[-1]
        falls = jnp.where(self.used, 1 / (t * jnp.where(self.used, self.boxes, 1)), 1)
        boxes = jnp.prod(falls, axis=-1)
        power = jnp.maximum(power + jnp.sum(self.used, axis=-1), 1)
        return jnp.minimum(decay * boxes / (math.pi * power), 1)


def envelope(widths: Float[Array, "*n"], terms: int) -> Float[Array, "*n"]:
    """Bounds on each factor of the series at its last term, of widths in periods."""
    return 1 / jnp.maximum(2 * math.pi * terms * jnp.abs(widths), 1)


def sum_of(v: Float[Array, " n"], size: Precision) -> tuple[Sum, Float[Array, ""]]:
    """The sum of all, with boxes of its own, and a bound on its truncation."""
    boxes = choose_boxes(v, size)
    narrow = v.at[boxes.order].set(jnp.where(boxes.used, 0, v[boxes.order])) / boxes.period
    variance = jnp.sum(narrow**2) / 3
    fourth = 3 * variance**2 - 2 / 15 * jnp.sum(narrow**4)
    phi = product(sincs(narrow, size.few))
    found = Sum(boxes.widths / boxes.period, boxes.used, phi, boxes.period, variance, fourth)
    falls = envelope(narrow, size.few)
    return found, found.truncation(jnp.prod(falls), jnp.sum(falls < 1))


def _turned(wave: tuple[Array, Array], quarters: Array) -> tuple[Array, Array]:
    """Cosine and sine, so many quarters of a turn later."""
    cos, sin = wave
    turned = [(cos, sin), (-sin, cos), (-cos, -sin), (sin, -cos)]
    cosines, sines = zip(*turned, strict=True)
    return jax.lax.select_n(quarters, *cosines), jax.lax.select_n(quarters, *sines)


def _places(d: Array, r: Array, s: Array, corner: Array) -> tuple[Array, Array]:
    """Where each edge and the anchor lie, from each shift and each corner."""
    y0 = (r - s)[:, None, None] + corner[:, None]
    return y0 + d, y0


def _settle(
    a: Array,
    at: Array,
    level: Array,
    y: Array,
    y0: Array,
    d: Array,
    half: Array,
    outer: list[Array],
) -> tuple[Array, Array]:
    """Put the polynomial of the outside in its place, at the anchor and relative to it."""
    out, out0 = jnp.abs(y) >= half, jnp.abs(y0) >= half
    side, side0 = jnp.sign(y) / 2, jnp.sign(y0) / 2
    anchored = jnp.where(out0, side0 * _value(outer, y0), at)
    level = jnp.where(out, side * _value(outer, y), level)
    both = out & out0 & (side == side0)
    a = jnp.where(both, side * _rise(outer, y, y0, d), jnp.where(out | out0, level - anchored, a))
    return a, anchored


def _inside(most: int, count: Array, s2: Array, s4: Array) -> list[Array]:
    """Coefficients of the polynomial under the series of $A_c$, which matches at half a period."""
    c1 = 1 / 12 + s2 / 2
    c3 = 2 * ((1 / 16 + 1.5 * s2 + s4) / 48 - 1 / 3840 - c1 / 48)
    zero = jnp.zeros_like(s2)
    rows = [
        [zero, zero + 1, zero, zero, zero],
        [c1, zero, zero + 1 / 2, zero, zero],
        [zero, c1, zero, zero + 1 / 6, zero],
        [c3, zero, c1 / 2, zero, zero + 1 / 24],
    ]
    return _choose(rows, most, count, most + 2)


def _beyond(most: int, count: Array, s2: Array) -> list[Array]:
    """Coefficients in $|y|$ order of $2 A_c$ outside the support, for a sum of this variance."""
    zero = jnp.zeros_like(s2)
    rows = [
        [zero + 1, zero, zero, zero],
        [zero, zero + 1, zero, zero],
        [s2 / 2, zero, zero + 1 / 2, zero],
        [zero, s2 / 2, zero, zero + 1 / 6],
    ]
    return _choose(rows, most, count, most + 1)


def _choose(rows: list[list[Array]], most: int, count: Array, length: int) -> list[Array]:
    if most == 0:
        return rows[0][:length]
    return [jnp.stack([row[i] for row in rows[: most + 1]])[count] for i in range(length)]


def _value(c: list[Array], y: Array) -> Array:
    total = c[-1]
    for x in reversed(c[:-1]):
        total = total * y + x
    return total


def _rise(c: list[Array], y: Array, y0: Array, d: Array) -> Array:
    """The polynomial at `y` less that at `y0`, where they are `d` apart, without cancellation."""
    quotient = [y - y + 1, y + y0, y**2 + y * y0 + y0**2, (y + y0) * (y**2 + y0**2)]
    return d * sum(x * q for x, q in zip(c[1:], quotient, strict=False))
