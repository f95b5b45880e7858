"""One hit per value of the distinct attribute, over all shards. reference: search-semantics C.13, H8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from miroir.core.reads.merging import Hit
from miroir.core.reads.projection import at_path
from miroir.core.reads.search_plan import quoted
from miroir.meili.facet_forms import normal_facet
from miroir.meili.federation_merge import hit_values

#: (is a string, number or normal form)
ValueKey = tuple[bool, float | str]


#: An empty string. It is no facet value, yet the distinct rule takes it for one.
_BLANK: ValueKey = (True, "")


def distinct_keys(document: Mapping[str, Any], attribute: str) -> list[ValueKey]:
    """What a document is deduplicated by: its values as facets, and whether an empty string is among them."""
    keys = facet_keys(at_path(document, attribute))
    # Of arrays inside arrays only what is not empty counts, as `hit_values` reads them.
    if (False, "") in hit_values(document, attribute):
        keys.append(_BLANK)
    return keys


def facet_keys(value: Any) -> list[ValueKey]:
    """The numbers and strings of a value, compared as a node compares facets."""
    keys: list[ValueKey] = []
    for leaf in _leaves(value):
        if isinstance(leaf, bool):
            keys.append((True, "true" if leaf else "false"))
        elif isinstance(leaf, (int, float)):
            keys.append((False, float(leaf)))
        elif normal := normal_facet(leaf):
            keys.append((True, normal))
    return keys


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, (str, int, float)):
        yield value


def deduplicate(hits: Iterable[Hit], attribute: str) -> tuple[list[Hit], list[list[ValueKey]]]:
    """Survivors in order, and the values of each. A document without a value is always kept."""
    seen: set[ValueKey] = set()
    kept, values = [], []
    for hit in hits:
        keys = distinct_keys(hit.body, attribute)
        if keys and not seen.isdisjoint(keys):
            continue  # the excluded document's own values exclude nothing
        seen.update(keys)
        kept.append(hit)
        values.append(keys)
    return kept, values


def has_many_values(hits: Iterable[Hit], attribute: str | None) -> bool:
    """Whether some hit has several values of the attribute."""
    return attribute is not None and any(len(distinct_keys(hit.body, attribute)) > 1 for hit in hits)


def duplicates_filter(attribute: str, values: Iterable[list[ValueKey]]) -> str | None:
    """A filter for every document that shares a value with one of these, None when there is no value.

    No filter finds empty strings among other values; those that are all a document has, it finds.
    """
    lists = list(values)
    texts = {number_text(key) if not is_string else str(key) for keys in lists for is_string, key in keys}
    texts.discard("")
    parts = [f"{quoted(attribute)} IN [{', '.join(quoted(text) for text in sorted(texts))}]"] if texts else []
    if [_BLANK] in lists:
        parts.append(f"{quoted(attribute)} IS EMPTY")
    if len(parts) < 2:
        return parts[0] if parts else None
    return f"({' OR '.join(parts)})"


def number_text(number: float | str) -> str:
    """A number as a filter takes it."""
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)
