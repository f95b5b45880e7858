"""Embedder settings: members, which source takes which, merging, masking of secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from miroir.meili import decode, refusals
from miroir.meili.codes import ApiError
from miroir.meili.decode import Field

CODE = "invalid_settings_embedders"
SOURCES = ("openAi", "huggingFace", "ollama", "userProvided", "rest", "composite")
MAX_EMBEDDERS = 256
_DEFAULT_MODEL = "text-embedding-3-small"
DEFAULT_TEMPLATE = (
    "{% for field in fields %}{% if field.is_searchable and field.value != nil %}"
    "{{ field.name }}: {{ field.value }}\n{% endif %}{% endfor %}"
)
_DEFAULT_TEMPLATE_BYTES = 400


def _share(name: str, interval: str) -> decode.Decoder:
    def check(value: Any, path: str, code: str) -> float | int:
        number = decode.number(value, path, code)
        if number > 1 or number < 0 or (name == "sigma" and number == 0):
            parent = path.rpartition(".")[0]
            refusals.invalid(
                f"the distribution {name} must be in the range {interval}, got {refusals.compact_json(value)}",
                parent,
                code,
            )
        return number

    return check


_DISTRIBUTION = decode.object_of(
    decode.fields(
        Field("mean", _share("mean", "[0, 1]"), CODE, required=CODE),
        Field("sigma", _share("sigma", "]0, 1]"), CODE, required=CODE),
    )
)
_FRAGMENTS = decode.map_of(decode.raw_object, nullable=True)

#: Members of an embedder, in the order that messages and GET list them.
EMBEDDER_FIELDS = decode.fields(
    *(
        Field(name, read, CODE, nullable=True)
        for name, read in (
            ("source", decode.enum(*SOURCES)),
            ("model", decode.string),
            ("revision", decode.string),
            ("pooling", decode.enum("useModel", "forceMean", "forceCls")),
            ("apiKey", decode.string),
            ("dimensions", decode.integer),
            ("binaryQuantized", decode.boolean),
            ("documentTemplate", decode.string),
            ("documentTemplateMaxBytes", decode.integer),
            ("url", decode.string),
            ("indexingFragments", _FRAGMENTS),
            ("searchFragments", _FRAGMENTS),
            ("request", decode.anything),
            ("response", decode.anything),
            ("headers", decode.map_of(decode.string)),
            ("searchEmbedder", decode.raw_object),
            ("indexingEmbedder", decode.raw_object),
            ("distribution", _DISTRIBUTION),
        )
    )
)

#: The same members in the order in which refusals list those a source takes.
_LISTED = (
    "source", "model", "revision", "pooling", "apiKey", "dimensions", "documentTemplate",
    "documentTemplateMaxBytes", "url", "indexingFragments", "searchFragments", "request", "response", "headers",
    "searchEmbedder", "indexingEmbedder", "distribution", "binaryQuantized",
)  # fmt: skip
#: The order in which members are checked against the source.
_CHECKED = (
    "model", "revision", "pooling", "dimensions", "apiKey", "url", "indexingFragments", "searchFragments",
    "request", "response", "documentTemplate", "documentTemplateMaxBytes", "headers", "searchEmbedder",
    "indexingEmbedder", "binaryQuantized", "distribution",
)  # fmt: skip
_ALWAYS = frozenset({"source", "distribution", "binaryQuantized"})
_TEMPLATE = frozenset({"documentTemplate", "documentTemplateMaxBytes"})
_MANDATORY: dict[str, frozenset[str]] = {
    "openAi": frozenset(),
    "huggingFace": frozenset(),
    "ollama": frozenset({"model"}),
    "userProvided": frozenset({"dimensions"}),
    "rest": frozenset({"url", "request", "response"}),
    "composite": frozenset({"searchEmbedder", "indexingEmbedder"}),
}
_OPTIONAL: dict[str, frozenset[str]] = {
    "openAi": _TEMPLATE | {"model", "apiKey", "dimensions", "url"},
    "huggingFace": _TEMPLATE | {"model", "revision", "pooling"},
    "ollama": _TEMPLATE | {"url", "apiKey", "dimensions"},
    "userProvided": frozenset(),
    "rest": _TEMPLATE | {"apiKey", "dimensions", "headers", "indexingFragments", "searchFragments"},
    "composite": frozenset(),
}


def _takes(source: str, member: str) -> bool:
    return member in _ALWAYS or member in _MANDATORY[source] or member in _OPTIONAL[source]


def check_embedders(embedders: Mapping[str, Mapping[str, Any] | None]) -> None:
    """What a request alone tells: zero dimensions, members against a given source. Raises ApiError."""
    for name, config in embedders.items():
        if config is not None:
            if config.get("dimensions") == 0:
                raise ApiError(CODE, f"`.embedders.{name}.dimensions`: `dimensions` cannot be zero")
            source = config.get("source")
            if source is not None:
                check_source(name, source, config)


def check_source(name: str, source: str, config: Mapping[str, Any]) -> None:
    """Members against their source; a member that is present as None was reset. Raises ApiError."""
    for member in _CHECKED:
        if member in config and not _takes(source, member):
            takers = ", ".join(f"`{other}`" for other in SOURCES if _takes(other, member))
            members = ", ".join(f"`{other}`" for other in _LISTED if _takes(source, other))
            raise ApiError(
                CODE,
                f"`.embedders.{name}`: Field `{member}` unavailable for source `{source}`.\n"
                f"  - note: `{member}` is available for sources: {takers}\n"
                f"  - note: available fields for source `{source}`: {members}",
            )
        if member in _MANDATORY[source] and config.get(member) is None:
            raise ApiError(
                CODE,
                f"`.embedders.{name}`: Missing field `{member}` (note: this field is mandatory for source "
                f"`{source}`)",
            )


def apply_embedders(
    current: Mapping[str, Mapping[str, Any]], patch: Mapping[str, Mapping[str, Any] | None]
) -> dict[str, dict[str, Any]]:
    """Embedders after a patch: null removes, members merge, another source starts afresh. Raises ApiError."""
    merged = {name: dict(config) for name, config in current.items()}
    for name, config in patch.items():
        if config is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(name, merged.get(name), config)
    if len(merged) > MAX_EMBEDDERS:
        raise ApiError(
            CODE,
            f"Too many embedders in the configuration. Found {len(merged)}, but limited to {MAX_EMBEDDERS}.",
        )
    return {name: merged[name] for name in sorted(merged, key=str.encode)}


def _merge(name: str, old: Mapping[str, Any] | None, patch: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(old or {})
    source = patch.get("source") or kept.get("source") or "openAi"
    if kept.get("source", source) != source:
        kept = {member: kept[member] for member in _ALWAYS if member in kept}
    if kept.get("binaryQuantized") and patch.get("binaryQuantized", True) is not True:
        raise ApiError(
            CODE,
            f"`.embedders.{name}.binaryQuantized`: Cannot disable the binary quantization.\n"
            " - Note: Binary quantization is a lossy operation that cannot be reverted.\n"
            " - Hint: Add a new embedder that is non-quantized and regenerate the vectors.",
        )
    merged = kept | {"source": source} | dict(patch)
    merged["source"] = source
    check_source(name, source, merged)
    if source == "openAi" and merged.get("model") is None:
        merged["model"] = _DEFAULT_MODEL
    if source == "rest" and merged.get("headers") is None:
        merged["headers"] = {}
    if _takes(source, "documentTemplate") and not merged.get("indexingFragments"):
        for member, default in (
            ("documentTemplate", DEFAULT_TEMPLATE),
            ("documentTemplateMaxBytes", _DEFAULT_TEMPLATE_BYTES),
        ):
            if merged.get(member) is None:
                merged[member] = default
    return {member: merged[member] for member in EMBEDDER_FIELDS if merged.get(member) is not None}


def mask_secret(secret: str) -> str:
    """A secret as GET shows it: a few characters, according to its length."""
    size = len(secret)
    for limit, shown, stars in ((10, 0, 3), (20, 2, 4), (30, 3, 5)):
        if size < limit:
            return secret[:shown] + "X" * stars + "..."
    return secret[:5] + "XXXXXX..."


def masked(embedders: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Embedders with their secrets masked."""
    return {
        name: None if config is None else {key: _mask(key, member) for key, member in config.items()}
        for name, config in embedders.items()
    }


def _mask(key: str, member: Any) -> Any:
    if key == "apiKey" and isinstance(member, str):
        return mask_secret(member)
    if key in ("searchEmbedder", "indexingEmbedder") and isinstance(member, dict):
        return {inner: _mask(inner, value) for inner, value in member.items()}
    return member
