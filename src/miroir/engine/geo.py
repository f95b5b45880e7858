"""Points on the sphere: distances as the geo rules and filters measure them."""

from __future__ import annotations

import math

Point = tuple[float, float]

EARTH_RADIUS_M = 6_371_000.0


def distance_m(a: Point, b: Point) -> float:
    """Haversine distance of two (latitude, longitude) points in metres, rounded to millimetres."""
    phi_a, phi_b = math.radians(a[0]), math.radians(b[0])
    lambda_a, lambda_b = math.radians(a[1]), math.radians(b[1])
    total = _haversine(phi_b - phi_a) + math.cos(phi_a) * math.cos(phi_b) * _haversine(lambda_b - lambda_a)
    metres = 2.0 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(max(0.0, total))))
    return math.floor(metres * 1000.0 + 0.5) / 1000.0


def _haversine(angle: float) -> float:
    return (1.0 - math.cos(angle)) / 2.0


def bad_latitude(value: float) -> str | None:
    """The refusal of a latitude out of range, or None."""
    if -90.0 <= value <= 90.0:
        return None
    return f"Bad latitude `{shown_float(value)}`. Latitude must be contained between -90 and 90 degrees."


def bad_longitude(value: float) -> str | None:
    """The refusal of a longitude out of range, or None."""
    if -180.0 <= value <= 180.0:
        return None
    hint = (value + 180.0) % 360.0 - 180.0
    return (
        f"Bad longitude `{shown_float(value)}`. Longitude must be contained between -180 and 180 degrees. "
        f"Hint: try using `{shown_float(hint)}` instead."
    )


def shown_float(value: float) -> str:
    """A float in its shortest decimal form, never with an exponent, integers without a fraction."""
    if value == int(value) if math.isfinite(value) else False:
        text = str(int(value))
        return "-0" if value == 0 and math.copysign(1.0, value) < 0 else text
    text = repr(value)
    if "e" not in text and "E" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    digits = mantissa.lstrip("-").replace(".", "")
    point = len(mantissa.lstrip("-").split(".")[0]) + int(exponent)
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[:point].ljust(point, '0')}" + (f".{digits[point:]}" if digits[point:] else "")
