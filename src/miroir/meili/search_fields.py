"""The members of searches, facet searches and similar searches, and how each is decoded."""

from __future__ import annotations

from typing import Any

from miroir.meili import decode, query_params, refusals
from miroir.meili.commands import Hybrid
from miroir.meili.decode import Field
from miroir.meili.json_text import JsonSyntaxError, parse
from miroir.meili.locales import LOCALES, SORTED_LOCALES
from miroir.meili.sorting import split_sort

_STRATEGIES = ("last", "all", "frequency")


def _ratio_problem(name: str) -> str:
    return f"the value of `{name}` is invalid, expected a float between `0.0` and `1.0`."


def _ratio(name: str) -> decode.Decoder:
    def check(value: Any, path: str, code: str) -> float:
        number = decode.number(value, path, code)
        if not 0.0 <= number <= 1.0:
            refusals.invalid(_ratio_problem(name), path, code)
        return number

    return check


def _param_ratio(name: str) -> decode.Decoder:
    def check(text: str, path: str, code: str) -> float:
        number = _float(text)
        if number is None or not 0.0 <= number <= 1.0:
            query_params.invalid_param(_ratio_problem(name), path, code)
        return number

    return check


def _float(text: str) -> float | None:
    if text != text.strip() or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _param_vector(text: str, path: str, code: str) -> tuple[float, ...]:
    if not text:
        return ()
    numbers = []
    for member in text.split(","):
        number = _float(member)
        if number is None:
            query_params.invalid_param(
                "invalid float literal" if member else "cannot parse float from empty string", path, code
            )
        numbers.append(number)
    return tuple(numbers)


def _param_locales(text: str, path: str, code: str) -> tuple[str, ...]:
    members = tuple(member for member in text.split(",") if member)
    for member in members:
        if member not in LOCALES:
            accepted = ", ".join(SORTED_LOCALES)
            query_params.invalid_param(
                f"Unsupported locale `{member}`, expected one of {accepted}", path, code
            )
    return members


def _param_sort(text: str, path: str, code: str) -> tuple[str, ...]:
    return split_sort(text)


def param_filter(text: str, path: str, code: str) -> Any:
    """The text as JSON when it is JSON (so that the array form works), else one expression."""
    try:
        return parse(text.encode())
    except JsonSyntaxError:
        return text


def _hybrid(found: dict[str, Any]) -> Hybrid:
    return Hybrid(found["embedder"], found.get("semanticRatio", 0.5))


_HYBRID = decode.object_of(
    decode.fields(
        Field("semanticRatio", _ratio("semanticRatio"), "invalid_search_semantic_ratio"),
        Field("embedder", decode.string, "invalid_search_embedder", required="invalid_search_hybrid_query"),
    ),
    _hybrid,
)
PERSONALIZE = decode.object_of(
    decode.fields(
        Field(
            "userContext",
            decode.string,
            "invalid_search_personalize_user_context",
            required="invalid_search_personalize",
        )
    )
)
_LOCALE_LIST = decode.array_of(decode.enum(*LOCALES))

SEARCH_FIELDS = decode.fields(
    Field("q", decode.string, "invalid_search_q", nullable=True),
    Field("offset", decode.integer, "invalid_search_offset"),
    Field("limit", decode.integer, "invalid_search_limit"),
    Field("page", decode.integer, "invalid_search_page", nullable=True),
    Field("hitsPerPage", decode.integer, "invalid_search_hits_per_page", nullable=True),
    Field("attributesToRetrieve", decode.strings, "invalid_search_attributes_to_retrieve", nullable=True),
    Field("attributesToCrop", decode.strings, "invalid_search_attributes_to_crop", nullable=True),
    Field("cropLength", decode.integer, "invalid_search_crop_length"),
    Field("cropMarker", decode.string, "invalid_search_crop_marker"),
    Field("attributesToHighlight", decode.strings, "invalid_search_attributes_to_highlight", nullable=True),
    Field("highlightPreTag", decode.string, "invalid_search_highlight_pre_tag"),
    Field("highlightPostTag", decode.string, "invalid_search_highlight_post_tag"),
    Field("showMatchesPosition", decode.boolean, "invalid_search_show_matches_position"),
    Field("filter", decode.anything, "invalid_search_filter", nullable=True),
    Field("sort", decode.strings, "invalid_search_sort", nullable=True),
    Field("distinct", decode.string, "invalid_search_distinct", nullable=True),
    Field("facets", decode.strings, "invalid_search_facets", nullable=True),
    Field("matchingStrategy", decode.enum(*_STRATEGIES), "invalid_search_matching_strategy"),
    Field("attributesToSearchOn", decode.strings, "invalid_search_attributes_to_search_on", nullable=True),
    Field(
        "rankingScoreThreshold",
        _ratio("rankingScoreThreshold"),
        "invalid_search_ranking_score_threshold",
        nullable=True,
    ),
    Field("locales", _LOCALE_LIST, "invalid_search_locales", nullable=True),
    Field("hybrid", _HYBRID, "invalid_search_hybrid_query", nullable=True),
    Field("vector", decode.array_of(decode.number), "invalid_search_vector", nullable=True),
    Field("retrieveVectors", decode.boolean, "invalid_search_retrieve_vectors"),
    Field("media", decode.anything, "invalid_search_media", nullable=True),
    Field("personalize", PERSONALIZE, "invalid_search_personalize", nullable=True),
    Field("useNetwork", decode.boolean, "invalid_search_use_network", nullable=True),
    Field("showRankingScore", decode.boolean, "invalid_search_show_ranking_score"),
    Field("showRankingScoreDetails", decode.boolean, "invalid_search_show_ranking_score_details"),
    Field("showPerformanceDetails", decode.boolean, "invalid_search_show_performance_details"),
)

SEARCH_PARAMS = decode.fields(
    Field("q", query_params.param_string, "invalid_search_q"),
    Field("offset", query_params.param_integer, "invalid_search_offset"),
    Field("limit", query_params.param_integer, "invalid_search_limit"),
    Field("page", query_params.param_integer, "invalid_search_page"),
    Field("hitsPerPage", query_params.param_integer, "invalid_search_hits_per_page"),
    Field("attributesToRetrieve", query_params.param_list(), "invalid_search_attributes_to_retrieve"),
    Field("attributesToCrop", query_params.param_list(), "invalid_search_attributes_to_crop"),
    Field("cropLength", query_params.param_integer, "invalid_search_crop_length"),
    Field("cropMarker", query_params.param_string, "invalid_search_crop_marker"),
    Field("attributesToHighlight", query_params.param_list(), "invalid_search_attributes_to_highlight"),
    Field("highlightPreTag", query_params.param_string, "invalid_search_highlight_pre_tag"),
    Field("highlightPostTag", query_params.param_string, "invalid_search_highlight_post_tag"),
    Field("showMatchesPosition", query_params.param_boolean, "invalid_search_show_matches_position"),
    Field("filter", param_filter, "invalid_search_filter"),
    Field("sort", _param_sort, "invalid_search_sort"),
    Field("distinct", query_params.param_string, "invalid_search_distinct"),
    Field("facets", query_params.param_list(), "invalid_search_facets"),
    Field("matchingStrategy", query_params.param_enum(*_STRATEGIES), "invalid_search_matching_strategy"),
    Field("attributesToSearchOn", query_params.param_list(), "invalid_search_attributes_to_search_on"),
    Field(
        "rankingScoreThreshold",
        _param_ratio("rankingScoreThreshold"),
        "invalid_search_ranking_score_threshold",
    ),
    Field("locales", _param_locales, "invalid_search_locales"),
    Field("hybridEmbedder", query_params.param_string, "invalid_search_embedder"),
    Field("hybridSemanticRatio", _param_ratio("semanticRatio"), "invalid_search_semantic_ratio"),
    Field("vector", _param_vector, "invalid_search_vector"),
    Field("retrieveVectors", query_params.param_boolean, "invalid_search_retrieve_vectors"),
    Field("personalizeUserContext", query_params.param_string, "invalid_search_personalize_user_context"),
    Field("useNetwork", query_params.param_boolean, "invalid_search_use_network"),
    Field("showRankingScore", query_params.param_boolean, "invalid_search_show_ranking_score"),
    Field("showRankingScoreDetails", query_params.param_boolean, "invalid_search_show_ranking_score_details"),
    Field("showPerformanceDetails", query_params.param_boolean, "invalid_search_show_performance_details"),
)

FACET_SEARCH_FIELDS = decode.fields(
    Field("facetQuery", decode.string, "invalid_facet_search_query", nullable=True),
    Field(
        "facetName",
        decode.string,
        "invalid_facet_search_facet_name",
        required="missing_facet_search_facet_name",
    ),
    *(
        SEARCH_FIELDS[name]
        for name in (
            "q",
            "vector",
            "media",
            "hybrid",
            "filter",
            "matchingStrategy",
            "attributesToSearchOn",
            "rankingScoreThreshold",
            "locales",
        )
    ),
    Field(
        "exhaustiveFacetCount",
        decode.boolean,
        "invalid_facet_search_exhaustive_facet_count",
        nullable=True,
    ),
    SEARCH_FIELDS["useNetwork"],
)


SIMILAR_FIELDS = decode.fields(
    Field("id", decode.anything, "invalid_similar_id", required="bad_request"),
    Field("offset", decode.integer, "invalid_similar_offset"),
    Field("limit", decode.integer, "invalid_similar_limit"),
    Field("filter", decode.anything, "invalid_similar_filter", nullable=True),
    Field("embedder", decode.string, "invalid_similar_embedder", required="bad_request"),
    Field("attributesToRetrieve", decode.strings, "invalid_similar_attributes_to_retrieve", nullable=True),
    Field("retrieveVectors", decode.boolean, "invalid_similar_retrieve_vectors"),
    Field("showRankingScore", decode.boolean, "invalid_similar_show_ranking_score"),
    Field("showRankingScoreDetails", decode.boolean, "invalid_similar_show_ranking_score_details"),
    Field("showPerformanceDetails", decode.boolean, "invalid_similar_show_performance_details"),
    Field(
        "rankingScoreThreshold",
        _ratio("rankingScoreThreshold"),
        "invalid_similar_ranking_score_threshold",
        nullable=True,
    ),
)

SIMILAR_PARAMS = decode.fields(
    Field("id", query_params.param_string, "invalid_similar_id", required="bad_request"),
    Field("embedder", query_params.param_string, "invalid_similar_embedder", required="bad_request"),
    Field("offset", query_params.param_integer, "invalid_similar_offset"),
    Field("limit", query_params.param_integer, "invalid_similar_limit"),
    Field("attributesToRetrieve", query_params.param_list(), "invalid_similar_attributes_to_retrieve"),
    Field("retrieveVectors", query_params.param_boolean, "invalid_similar_retrieve_vectors"),
    Field("filter", param_filter, "invalid_similar_filter"),
    Field("showRankingScore", query_params.param_boolean, "invalid_similar_show_ranking_score"),
    Field(
        "showRankingScoreDetails", query_params.param_boolean, "invalid_similar_show_ranking_score_details"
    ),
    Field("showPerformanceDetails", query_params.param_boolean, "invalid_similar_show_performance_details"),
    Field(
        "rankingScoreThreshold",
        _param_ratio("rankingScoreThreshold"),
        "invalid_similar_ranking_score_threshold",
    ),
)
