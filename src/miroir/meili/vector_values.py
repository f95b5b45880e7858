"""Reading `_vectors` of a document: which embedder gets which embeddings, and the refusals.

Forms of one embedder's value: null, one array of floats, an array of such arrays, or an object with
`regenerate` and maybe `embeddings` (api 4.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from miroir.meili.codes import ApiError
from miroir.meili.document_payload import invalid_type
from miroir.meili.refusals import compact_json
from miroir.meili.vector_forms import VECTORS_FIELD, fault


@dataclass(frozen=True, slots=True)
class SentVectors:
    """What a document says about one embedder. `embeddings` None: it provides none itself."""

    embeddings: tuple[tuple[float, ...], ...] | None
    regenerate: bool


_ABSENT: dict[str, Any] = {}


def check_is_object(document: Mapping[str, Any]) -> None:
    """Raise ApiError `internal` for `_vectors` that are no object, whatever embedders the index has.

    The server reads the field as a map of raw values, and what that says is all it says.
    """
    entries = document.get(VECTORS_FIELD, _ABSENT)
    if not isinstance(entries, dict):
        raise ApiError("internal", invalid_type(compact_json(entries).encode(), "a map"))


def check_forms(document: Mapping[str, Any], document_id: str) -> None:
    """The form of every entry, also of those that no embedder of the index takes (whose numbers nobody reads).

    Raises:
        ApiError: `internal`, `invalid_vectors_type`.
    """
    check_is_object(document)
    for name, value in document.get(VECTORS_FIELD, _ABSENT).items():
        if value is not None and not isinstance(value, list):
            _check_form(value, f"._vectors.{name}", document_id)


def sent_vectors(
    document: Mapping[str, Any], embedder: str, dimensions: int, document_id: str
) -> SentVectors | None:
    """The entry of one embedder, None when the document does not mention it.

    Raises:
        ApiError: `internal`, `invalid_vectors_type` or `invalid_vector_dimensions`.
    """
    if VECTORS_FIELD not in document or document[VECTORS_FIELD] is None:
        return None
    entries = document[VECTORS_FIELD]
    check_is_object(document)
    if embedder not in entries:
        return None
    sent = _parse(entries[embedder], embedder, document_id)
    for place, embedding in enumerate(sent.embeddings or ()):
        if len(embedding) != dimensions:
            raise ApiError(
                "invalid_vector_dimensions",
                f"Invalid vector dimensions in document with id `{document_id}` in `._vectors.{embedder}`.\n"
                f"  - note: embedding #{place} has dimensions {len(embedding)}\n"
                f"  - note: embedder `{embedder}` requires {dimensions}",
            )
    return sent


def _parse(value: Any, embedder: str, document_id: str) -> SentVectors:
    where = f"._vectors.{embedder}"
    if value is None:
        return SentVectors((), regenerate=False)
    if isinstance(value, list):
        return SentVectors(_embeddings(value, where, document_id), regenerate=False)
    _check_form(value, where, document_id)
    given = value.get("embeddings")
    embeddings = None if given is None else _embeddings(given, f"{where}.embeddings", document_id)
    return SentVectors(embeddings, value["regenerate"])


def _check_form(value: Any, where: str, document_id: str) -> None:
    """Refuse what is neither null nor a list nor an object with `regenerate` and maybe `embeddings`."""
    if not isinstance(value, dict):
        kind = _kind(value)
        shown = value if isinstance(value, str) else _plain(value)
        _refuse(
            f"Expected `{where}` to be an array of floats, an array of arrays of floats, or an object with at least "
            f"the field `regenerate`, but got the {kind} `{shown}`",
            document_id,
        )
    wrong = fault(value)
    if wrong is not None:
        _refuse(f"Could not parse `{where}{wrong[0]}`: {wrong[1]}", document_id)
    if "regenerate" not in value:
        _refuse(
            f"Missing field `{where}.regenerate`\n  - note: `{where}` must be an array of floats, an array of arrays "
            "of floats, or an object with field `regenerate`",
            document_id,
        )


def _embeddings(value: Any, where: str, document_id: str) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list):
        _refuse(
            f"Invalid value type at `{where}`: expected null or an array, but found {_found(value)}",
            document_id,
        )
    if not value:
        return ()
    if isinstance(value[0], list):
        return tuple(_embedding(inner, f"{where}[{place}]", document_id) for place, inner in enumerate(value))
    return (_embedding(value, where, document_id, expected="a number or an array"),)


def _embedding(value: Any, where: str, document_id: str, *, expected: str = "a number") -> tuple[float, ...]:
    if not isinstance(value, list):
        _refuse(f"Invalid value type at `{where}`: expected an array, but found {_found(value)}", document_id)
    for place, number in enumerate(value):
        if isinstance(number, bool) or not isinstance(number, int | float):
            _refuse(
                f"Invalid value type at `{where}[{place}]`: expected {expected}, but found {_found(number)}",
                document_id,
            )
    return tuple(float(number) for number in value)


def _plain(value: Any) -> str:
    """A number without an exponent, and a whole one without a point."""
    if not isinstance(value, float):
        return compact_json(value)
    return format(Decimal(repr(value)), "f").removesuffix(".0")


def _found(value: Any) -> str:
    if value is None:
        return "null"
    article = "an" if _kind(value) in ("array", "object", "integer") else "a"
    return f"{article} {_kind(value)}: `{compact_json(value)}`"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _refuse(error: str, document_id: str) -> NoReturn:
    raise ApiError(
        "invalid_vectors_type",
        f"Bad embedder configuration in the document with id: `{document_id}`. {error}",
    )
