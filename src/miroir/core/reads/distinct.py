"""One hit per value of the distinct attribute, over all shards. reference: search-semantics C.13, H8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from miroir.core.reads.merging import Hit
from miroir.core.reads.projection import at_path
from miroir.core.reads.search_plan import quoted
from miroir.meili.facet_forms import normal_facet
from miroir.meili.federation_merge import HitValue, hit_values

#: (is a string, number or normal form)
ValueKey = tuple[bool, float | str]

_BLANK: HitValue = (False, "")


def distinct_keys(document: Mapping[str, Any], attribute: str) -> list[ValueKey]:
    """What a document is deduplicated by: its values as facets."""
    return facet_keys(at_path(document, attribute))


def facet_keys(value: Any) -> list[ValueKey]:
    """The numbers and strings of a value, compared as a node compares facets."""
    keys: list[ValueKey] = []
    for leaf in _leaves(value):
        if isinstance(leaf, bool):
            keys.append((True, "true" if leaf else "false"))
        elif isinstance(leaf, (int, float)):
            keys.append((False, float(leaf)))
        elif leaf:
            keys.append((True, normal_facet(leaf)))
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


def shown_once(hits: Sequence[Hit], attribute: str) -> tuple[list[Hit], list[Hit]]:
    """(kept, dropped): what a search that names the attribute does with the hits that deduplication leaves.

    It compares what documents show, where an empty string is a value, as no facet is.
    """
    seen: set[HitValue] = set()
    kept: list[Hit] = []
    dropped: list[Hit] = []
    for hit in hits:
        values = hit_values(hit.body, attribute)
        if seen.isdisjoint(values):
            seen.update(values)
            kept.append(hit)
        else:
            dropped.append(hit)
    return kept, dropped


def needs_listing(hits: Iterable[Hit], attribute: str, *, named: bool) -> bool:
    """Whether nodes may have dropped what one node keeps: for other values of a document, or for an empty string."""
    return any(
        len(distinct_keys(hit.body, attribute)) > 1 or (named and _BLANK in hit_values(hit.body, attribute))
        for hit in hits
    )


def duplicates_filter(attribute: str, values: Iterable[list[ValueKey]]) -> str | None:
    """A filter for every document that shares a value with one of these, None when there is no value."""
    texts = {number_text(key) if not is_string else str(key) for keys in values for is_string, key in keys}
    if not texts:
        return None
    return f"{quoted(attribute)} IN [{', '.join(quoted(text) for text in sorted(texts))}]"


def number_text(number: float | str) -> str:
    """A number as a filter takes it."""
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)
