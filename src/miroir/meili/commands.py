"""What a client asked for, decoded and valid: one value per kind of request.

The edge (`meili/edge.py`) turns an HTTP request into a `Call`; a backend (the embedded engine, the
orchestrator) answers it. A value here has passed every check that needs no state: types, enums, ranges,
unknown fields, the syntax of uids and filters. What needs state (does the index exist, is the attribute
filterable, is the feature on) is the backend's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from miroir.meili.codes import ApiError
from miroir.meili.http import HttpRequest

JsonObject = dict[str, Any]
#: As clients send it: an expression, or an array (AND) of expressions and arrays (OR) of expressions.
FilterValue = str | list[Any]


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks and what they may see; made by `meili/auth.py`, obeyed by backends.

    `index_patterns` None means every index. `search_rules` is set for tenant tokens: pattern -> rule
    object or None. `may_create_indexes` is false for a key without `indexes.create`.
    """

    key_uid: str | None = None
    index_patterns: tuple[str, ...] | None = None
    search_rules: Mapping[str, JsonObject | None] | None = None
    may_create_indexes: bool = True

    def sees(self, index_uid: str) -> bool:
        """Whether this credential may act on the index (patterns only)."""
        return self.index_patterns is None or any(
            p == "*" or p == index_uid or (p.endswith("*") and index_uid.startswith(p[:-1]))
            for p in self.index_patterns
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One decoded request. `route` is a name of the table in `meili/routes.py`, e.g. `documents.add`."""

    route: str
    access: Access
    request: HttpRequest
    index_uid: str | None = None
    path: Mapping[str, str] = field(default_factory=dict)  #: other path parameters, percent-decoded
    args: Any = None  #: the dataclass below that the route table names, or None


# --- indexes ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    offset: int = 0
    limit: int = 20


@dataclass(frozen=True, slots=True)
class IndexCreate:
    uid: str
    primary_key: str | None = None


@dataclass(frozen=True, slots=True)
class IndexUpdate:
    new_uid: str | None = None  #: rename, when given
    primary_key: str | None = None


@dataclass(frozen=True, slots=True)
class Swap:
    indexes: tuple[str, str]
    rename: bool = False


@dataclass(frozen=True, slots=True)
class FieldsQuery:
    """POST /fields: page and filter; None = not restricted."""

    offset: int = 0
    limit: int = 20
    attribute_patterns: tuple[str, ...] | None = None
    displayed: bool | None = None
    searchable: bool | None = None
    sortable: bool | None = None
    distinct: bool | None = None
    ranking_rule: bool | None = None
    filterable: bool | None = None


@dataclass(frozen=True, slots=True)
class StatsQuery:
    """GET /stats: `human_sizes` prints sizes as `"4 KiB"`."""

    show_internal_database_sizes: bool = False
    human_sizes: bool = False


# --- documents ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DocumentsQuery:
    """GET /documents and POST /documents/fetch. `fields` None: all; `sort` None: insertion order."""

    offset: int = 0
    limit: int = 20
    fields: tuple[str, ...] | None = None
    retrieve_vectors: bool = False
    ids: tuple[str, ...] | None = None
    filter: FilterValue | None = None
    sort: tuple[str, ...] | None = None
    is_get: bool = False


@dataclass(frozen=True, slots=True)
class DocumentGet:
    id: str
    fields: tuple[str, ...] | None = None
    retrieve_vectors: bool = False


@dataclass(frozen=True, slots=True)
class DocumentsWrite:
    """POST (replace) or PUT (merge) of documents. `documents` are in payload order, keys in sent order."""

    kind: Literal["replace", "merge"]
    documents: Sequence[JsonObject]
    primary_key: str | None = None
    skip_creation: bool = False
    custom_metadata: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentsDelete:
    """By ids (as sent, stringified, duplicates kept), by filter, or everything when both are None."""

    ids: tuple[str, ...] | None = None
    filter: FilterValue | None = None
    custom_metadata: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentsEdit:
    function: str
    filter: FilterValue | None = None
    context: JsonObject | None = None
    custom_metadata: str | None = None


# --- search -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hybrid:
    embedder: str
    semantic_ratio: float = 0.5


@dataclass(frozen=True, slots=True)
class FederationOptions:
    """`federationOptions` of one query of a federated multi-search."""

    weight: float = 1.0
    query_position: int | None = None
    remote: str | None = None


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Everything a search can ask. Names follow the API; defaults are the API's.

    `refused`: what is wrong with its parameters together, to be raised once the index uid has been judged.
    """

    q: str | None = None
    vector: tuple[float, ...] | None = None
    media: JsonObject | None = None
    hybrid: Hybrid | None = None
    offset: int = 0
    limit: int = 20
    page: int | None = None
    hits_per_page: int | None = None
    attributes_to_retrieve: tuple[str, ...] | None = None
    retrieve_vectors: bool = False
    attributes_to_crop: tuple[str, ...] | None = None
    crop_length: int = 10
    attributes_to_highlight: tuple[str, ...] | None = None
    show_matches_position: bool = False
    show_ranking_score: bool = False
    show_ranking_score_details: bool = False
    show_performance_details: bool = False
    use_network: bool | None = None
    filter: FilterValue | None = None
    sort: tuple[str, ...] | None = None
    distinct: str | None = None
    facets: tuple[str, ...] | None = None
    highlight_pre_tag: str = "<em>"
    highlight_post_tag: str = "</em>"
    crop_marker: str = "…"
    matching_strategy: Literal["last", "all", "frequency"] = "last"
    attributes_to_search_on: tuple[str, ...] | None = None
    ranking_score_threshold: float | None = None
    locales: tuple[str, ...] | None = None
    personalize: JsonObject | None = None
    refused: ApiError | None = None

    @property
    def is_paged(self) -> bool:
        """Page mode (exhaustive totals) rather than offset/limit."""
        return self.page is not None or self.hits_per_page is not None


@dataclass(frozen=True, slots=True)
class FacetSearchQuery:
    """POST /facet-search; `search` holds the fields it shares with a search."""

    facet_name: str
    facet_query: str | None = None
    exhaustive_facet_count: bool | None = None
    search: SearchQuery = field(default_factory=SearchQuery)


@dataclass(frozen=True, slots=True)
class SimilarQuery:
    """`refused_id`: why the id is none, to be raised once everything else has been judged.

    `rule`: the filter of a tenant's token, a part of `filter` already; it hides the document itself too.
    """

    id: str
    embedder: str
    offset: int = 0
    limit: int = 20
    filter: FilterValue | None = None
    attributes_to_retrieve: tuple[str, ...] | None = None
    retrieve_vectors: bool = False
    show_ranking_score: bool = False
    show_ranking_score_details: bool = False
    show_performance_details: bool = False
    ranking_score_threshold: float | None = None
    refused_id: ApiError | None = None
    rule: FilterValue | None = None


@dataclass(frozen=True, slots=True)
class MergeFacets:
    max_values_per_facet: int | None = None


@dataclass(frozen=True, slots=True)
class Federation:
    offset: int = 0
    limit: int = 20
    page: int | None = None
    hits_per_page: int | None = None
    facets_by_index: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    merge_facets: MergeFacets | None = None
    distinct: str | None = None
    show_performance_details: bool = False
    personalize: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class MultiSearchItem:
    """`sent`: JSON names of the members that the client gave a value (a federation forbids some of them)."""

    index_uid: str
    search: SearchQuery
    federation_options: FederationOptions | None = None
    sent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MultiSearch:
    queries: tuple[MultiSearchItem, ...]
    federation: Federation | None = None


# --- settings -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SettingsWrite:
    """`patch`: JSON key -> valid value, None meaning reset; only the keys sent. `reset_all`: DELETE /settings."""

    patch: JsonObject = field(default_factory=dict)
    reset_all: bool = False
    is_deletion: bool = False  #: a DELETE: does not create a missing index


# --- tasks --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks: fields are ANDed, members ORed, None = not restricted. Dates in ns since 1970, exclusive."""

    uids: frozenset[int] | None = None
    batch_uids: frozenset[int] | None = None
    canceled_by: frozenset[int] | None = None
    types: frozenset[str] | None = None
    statuses: frozenset[str] | None = None
    index_uids: frozenset[str] | None = None
    after_enqueued_at: int | None = None
    before_enqueued_at: int | None = None
    after_started_at: int | None = None
    before_started_at: int | None = None
    after_finished_at: int | None = None
    before_finished_at: int | None = None


@dataclass(frozen=True, slots=True)
class TasksQuery:
    """GET /tasks and GET /batches."""

    filter: TaskFilter
    limit: int = 20
    start: int | None = None  #: `from`
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class TasksSelect:
    """POST /tasks/cancel and DELETE /tasks. `original_filter` is the query string as sent, with its `?`."""

    filter: TaskFilter
    original_filter: str


# --- keys, webhooks, features -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyCreate:
    uid: str | None
    name: str | None
    description: str | None
    actions: tuple[str, ...]
    indexes: tuple[str, ...]
    expires_at: int | None  #: ns since 1970
    expires_offset_s: int = 0  #: the offset it was sent with, shown again


@dataclass(frozen=True, slots=True)
class KeyUpdate:
    """`changes` has `name` and/or `description`, only when sent; None clears."""

    changes: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class WebhookWrite:
    """`url` None: not sent, unless `clear_url`. `headers` None: not sent, unless `clear_headers`; a None value removes one."""

    url: str | None = None
    headers: Mapping[str, str | None] | None = None
    clear_headers: bool = False
    clear_url: bool = False  #: null was sent, which is refused once the webhook is known


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """POST /export. `indexes`: pattern -> {"filter", "overrideSettings"}."""

    url: str
    api_key: str | None
    payload_size: int | str | None
    indexes: Mapping[str, JsonObject]
