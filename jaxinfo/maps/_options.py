"""Checks of the options that several families take."""

import math

Number = float | int


def ordered_bounds(
    sigma_min: Number, sigma_max: Number, *, least: Number | None = None, finite: bool = True
) -> tuple[float, float]:
    """The two bounds as floats, or an error if they are reversed, too low or not `finite`."""
    low, high = float(sigma_min), float(sigma_max)
    if not low <= high:
        raise ValueError(f"`sigma_min` must not exceed `sigma_max`; got {low:g} and {high:g}.")
    if finite and not math.isfinite(high - low):
        raise ValueError(f"The bounds must be finite; got {low:g} and {high:g}.")
    if least is not None and low < least:
        raise ValueError(f"`sigma_min` must be at least {least:g}; got {low:g}.")
    return low, high


def even(name: str, size: int) -> int:
    """`size`, or an error if it is odd."""
    if size % 2:
        raise ValueError(
            f"`{name}` works on pairs of coordinates: its size must be even; got {size}."
        )
    return size
