"""Reading `_geo` of a document: a point, or the refusal in the server's words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.refusals import compact_json

GEO_FIELD = "_geo"


def document_point(document: Mapping[str, Any], document_id: str) -> tuple[float, float] | None:
    """The point in `_geo`, validated; None when the field is absent or null.

    Raises:
        ApiError: `invalid_document_geo_field` when it is anything else than an object of `lat` and `lng`.
    """
    geo = document.get(GEO_FIELD)
    if geo is None:
        return None
    shown = compact_json(document_id)
    if not isinstance(geo, dict):
        raise _geo_error(
            f"The `_geo` field in the document with the id: `{shown}` is not an object. Was expecting an object with "
            f"the `_geo.lat` and `_geo.lng` fields but instead got `{compact_json(geo)}`."
        )
    _check_geo_fields(geo, shown)
    lat, lng = finite_float(geo["lat"]), finite_float(geo["lng"])
    if lat is not None and lng is not None:
        return lat, lng
    start = "Could not parse"
    if lat is None and lng is None:
        raise _geo_error(
            f"{start} latitude nor longitude in the document with the id: `{shown}`. Was expecting finite numbers "
            f"but instead got `{compact_json(geo['lat'])}` and `{compact_json(geo['lng'])}`."
        )
    axis, value = ("latitude", geo["lat"]) if lat is None else ("longitude", geo["lng"])
    raise _geo_error(
        f"{start} {axis} in the document with the id: `{shown}`. Was expecting a finite number but instead "
        f"got `{compact_json(value)}`."
    )


def _check_geo_fields(geo: Mapping[str, Any], shown: str) -> None:
    missing = [axis for axis in ("lat", "lng") if axis not in geo]
    of_document = f"in the document with the id: `{shown}`. Was expecting"
    if len(missing) == 2:
        raise _geo_error(
            f"Could not find latitude nor longitude {of_document} `_geo.lat` and `_geo.lng` fields."
        )
    if missing:
        name = {"lat": "latitude", "lng": "longitude"}[missing[0]]
        raise _geo_error(f"Could not find {name} {of_document} a `_geo.{missing[0]}` field.")
    extra = {key: value for key, value in geo.items() if key not in ("lat", "lng")}
    if extra:
        raise _geo_error(
            f"The `_geo` field in the document with the id: `{shown}` contains the following unexpected fields: "
            f"`{compact_json(extra)}`."
        )


def _geo_error(message: str) -> ApiError:
    return ApiError("invalid_document_geo_field", message)


def finite_float(value: Any) -> float | None:
    """A number, or a string that reads as one; None for anything else and for what is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return parse_finite(value) if isinstance(value, str) else (float(value) if math.isfinite(value) else None)


def parse_finite(text: str) -> float | None:
    """The finite number that a filter value or coordinate reads as, or None; no blanks, no underscores."""
    if not text or text != text.strip() or "_" in text or not text.isascii():
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
