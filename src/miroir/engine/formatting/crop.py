"""Choosing the part of a text that a crop shows (search-semantics E.4)."""

from __future__ import annotations

from collections.abc import Sequence

from miroir.engine.formatting.matcher import Match
from miroir.engine.tokens import Token

_GAP_MAX = 7


def crop_bounds(text: str, tokens: Sequence[Token], matches: Sequence[Match], size: int) -> tuple[int, int]:
    """Character offsets of the `size` words to show, around the best interval of matches."""
    if not matches:
        return _grow(text, tokens, before=0, after=0, backward=False, missing=size)
    first, last = best_interval(matches, size)
    width = last.last_word - first.first_word + 1
    if width < 0:
        # Several phrases longer than the crop: the server's subtraction wraps around and nothing is cut.
        return 0, len(text)
    after = min(last.last + 1, len(tokens)) if width else 0
    if size >= width:
        return _grow(text, tokens, before=first.first, after=after, backward=False, missing=size - width)
    # A single phrase longer than the crop: its last words are dropped.
    return _grow(text, tokens, before=0, after=after, backward=True, missing=width - size)


def _grow(
    text: str, tokens: Sequence[Token], *, before: int, after: int, backward: bool, missing: int
) -> tuple[int, int]:
    """Extend the window [before, after) token by token until no word is missing.

    `backward`: the right end walks to the left instead, and nothing stands before.
    """
    left = before - 1  # the next token to take on the left
    right = min(after, len(tokens) - 1) if backward else after
    step = -1 if backward else 1

    def right_token() -> Token | None:
        return tokens[right] if 0 <= right < len(tokens) else None

    while missing > 0:
        on_left = tokens[left] if left >= 0 else None
        on_right = right_token()
        if on_left is None and on_right is None:
            break
        take_left = take_right = False
        if on_left is None or on_right is None:
            take_left, take_right = on_left is not None, on_right is not None
        elif on_left.is_separator and on_right.is_separator:
            if on_left.kind == on_right.kind:
                take_left, take_right = True, missing > 1
            else:
                take_right = on_left.kind > on_right.kind
                take_left = not take_right
        elif on_left.is_separator:
            take_right = True
        elif on_right.is_separator:
            take_left = True
        else:
            take_left, take_right = True, missing > 1
        if take_left and on_left is not None:
            left -= 1
            missing -= not on_left.is_separator
        if take_right and on_right is not None:
            right += step
            missing -= not on_right.is_separator
    end_token = right_token()
    start = tokens[left].start + len(tokens[left].text) if left >= 0 else 0
    return start, end_token.start if end_token is not None else len(text)


def best_interval(matches: Sequence[Match], size: int) -> tuple[Match, Match]:
    """First and last match of the interval of at most `size` words with the best score; the first wins."""
    best: tuple[tuple[int, int, int], int, int] | None = None

    def keep(first: int, last: int) -> None:
        nonlocal best
        score = _score(matches[first : last + 1])
        if best is None or score > best[0]:
            best = (score, first, last)

    first = 0
    for place, match in enumerate(matches):
        if match.last_word - matches[first].first_word < size:
            continue
        if place:
            keep(first, place - 1)
        while first + 1 < len(matches):
            first += 1
            start = matches[first].first_word
            if start > match.last_word or match.last_word - start < size:
                break
    last = len(matches) - 1
    if first != last or matches[first].word_count < size:
        keep(first, last)
    if best is None:
        return matches[0], matches[0]
    return matches[best[1]], matches[best[2]]


def _score(matches: Sequence[Match]) -> tuple[int, int, int]:
    """(distinct query words, minus the gaps between matches, pairs in the order of the query)."""
    order = distance = 0
    for place, match in enumerate(matches):
        inner = match.last_word - match.first_word
        order += inner
        distance -= inner
        if place + 1 < len(matches):
            following = matches[place + 1]
            order += following.span[0] > match.span[0]
            distance -= min(following.first_word - match.last_word, _GAP_MAX)
    return len({i for match in matches for i in match.ids}), distance, order
