"""Highlights, crops and positions: the examples of the reference."""

from typing import Any

from miroir.engine.facets import FacetIndex
from miroir.engine.formatting.hits import HitMaker
from miroir.engine.formatting.matcher import MatchingPhrase, MatchingTerm, MatchingWords
from miroir.engine.index import Index
from miroir.meili.commands import SearchQuery
from miroir.meili.field_selection import retrieve, select_values


def make(document: dict[str, Any], settings: dict[str, Any] | None = None) -> Index:
    settings = settings or {}
    facets = FacetIndex().updated(settings, [(0, None, document)])
    return Index(settings=settings, documents={0: document}, field_ids=tuple(document), facets=facets)


def term(word: str, position: int = 0, *, prefix: bool = False, typed: int | None = None) -> MatchingTerm:
    return MatchingTerm((word,), (position, position), prefix, typed or len(word))


def hit(
    document: dict[str, Any], query: SearchQuery, *terms: MatchingTerm, phrases: Any = ()
) -> dict[str, Any]:
    return HitMaker(make(document), query, MatchingWords(phrases, terms)).make(0, ())


def cropped(text: str, length: int, *terms: MatchingTerm, highlight: bool = False, marker: str = "…") -> Any:
    query = SearchQuery(
        attributes_to_crop=("t",),
        crop_length=length,
        crop_marker=marker,
        attributes_to_highlight=("t",) if highlight else None,
    )
    return hit({"t": text}, query, *terms)["_formatted"]["t"]


FOX = "The quick-brown fox, sunflower fields"
BUILD = "Groundhog wants to build a world with wonderful things"


def test_crop_without_match_shows_the_start() -> None:
    assert cropped(FOX, 2) == "The quick…"
    assert cropped("The quick", 3) == "The quick"
    assert cropped(FOX, 0) == FOX


def test_crop_grows_around_the_match_as_observed() -> None:
    assert cropped(BUILD, 3, term("world")) == "…a world with…"
    assert cropped(BUILD, 4, term("world"), highlight=True, marker="[...]") == (
        "[...]build a <em>world</em> with[...]"
    )
    assert cropped(FOX, 2, term("fox")) == "…brown fox…"


def test_crop_prefers_the_interval_with_more_query_words() -> None:
    text = "one x x x x x x one two x x x x"
    assert cropped(text, 2, term("one", 0), term("two", 1)) == "…one two…"


def test_two_phrases_longer_than_the_crop_leave_the_text_whole() -> None:
    text = "a guide to the b (guide to the c)"
    phrase = MatchingPhrase(("guide", "to", "the"), (0, 2))
    query = SearchQuery(attributes_to_crop=("t",), crop_length=2)
    assert hit({"t": text}, query, phrases=[phrase])["_formatted"]["t"] == text


def test_phrase_is_one_span_with_its_separators() -> None:
    query = SearchQuery(attributes_to_highlight=("*",))
    phrase = MatchingPhrase(("quick", "brown"), (0, 1))
    assert hit({"t": FOX}, query, phrases=[phrase])["_formatted"]["t"] == (
        "The <em>quick-brown</em> fox, sunflower fields"
    )


def test_prefix_term_marks_as_many_characters_as_were_typed() -> None:
    query = SearchQuery(attributes_to_highlight=("t",), show_matches_position=True)
    found = hit(
        {"t": "Sunflower é batyy"},
        query,
        MatchingTerm(("sunflower",), (0, 0), True, 8),
        term("bat", 1, prefix=True),
    )
    assert found["_formatted"]["t"] == "<em>Sunflowe</em>r é <em>bat</em>yy"
    # Positions are bytes: é takes two.
    assert found["_matchesPosition"] == {"t": [{"start": 0, "length": 8}, {"start": 13, "length": 3}]}


def test_formatted_has_numbers_as_text_and_positions_have_indices() -> None:
    document = {"id": 1, "tags": ["x", "one"], "n": {"k": 1.0, "l": [1e20, 1e-5, 1e-7], "b": True, "z": None}}
    query = SearchQuery(
        attributes_to_retrieve=("id", "n"), attributes_to_highlight=("tags",), show_matches_position=True
    )
    found = hit(document, query, term("one"))
    assert found["_formatted"] == {
        "id": "1",
        "tags": ["x", "<em>one</em>"],
        "n": {"k": "1.0", "l": ["1e+20", "0.00001", "1e-7"], "b": True, "z": None},
    }
    assert found["_matchesPosition"] == {"tags": [{"start": 0, "length": 3, "indices": [1]}]}
    assert "tags" not in found


def test_formatted_is_absent_when_no_known_attribute_is_asked_for() -> None:
    assert "_formatted" not in hit({"id": 1}, SearchQuery(attributes_to_highlight=("zz",)), term("one"))


def test_displayed_attributes_limit_what_is_retrieved_and_keys_follow_field_order() -> None:
    index = make({"b": 1, "id": 2, "a": {"k": 3, "j": 4}}, {"displayedAttributes": ["id", "a"]})
    assert list(HitMaker(index, SearchQuery()).make(0, ())) == ["id", "a"]
    assert HitMaker(index, SearchQuery(attributes_to_retrieve=("b", "a.k", "id"))).make(0, ()) == {"id": 2}


def test_selection_filters_the_objects_of_arrays() -> None:
    document = {"a": [{"b": 1, "x": 2}, {"x": 3}, 4], "c": 0, "d": 5}
    assert select_values(document, ["a.b", "c"]) == {"a": [{"b": 1}], "c": 0}
    assert retrieve(document, ["a.b", "c"]) == {"a": [{"b": 1}, {}, 4], "c": 0}
    for select in (select_values, retrieve):
        assert select(document, ["a", "c"]) == {"a": [{"b": 1, "x": 2}, {"x": 3}, 4], "c": 0}


def test_what_is_no_object_where_a_path_goes_on_is_retrieved_as_it_is() -> None:
    document = {"a": {"b": "text", "c": {"x": 1, "y": 2}}, "d": [[{"e": 1, "f": 2}], 3]}
    assert retrieve(document, ["a.b.x", "a.c.y", "d.e"]) == {
        "a": {"b": "text", "c": {"y": 2}},
        "d": [[{"e": 1}], 3],
    }


def test_an_empty_list_of_displayed_attributes_shows_nothing() -> None:
    index = make({"t": "red"}, {"displayedAttributes": []})
    assert HitMaker(index, SearchQuery(attributes_to_highlight=("*",))).make(0, ()) == {}
