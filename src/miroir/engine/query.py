"""From the text of a query to terms: words, prefixes, phrases, negatives, n-grams. Source: semantics B.

A term knows what it can stand for: the word itself, words it is a prefix of, synonyms, and (looked up when a
rule first asks) words with typos and the best split in two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TypeAlias

from miroir.engine.derivations import NO_TYPO_WORDS, TypoWords, typo_words
from miroir.engine.text import TextIndex
from miroir.engine.tokens import MAX_WORD_BYTES, Kind, Token

#: Words in a row; None stands for any word (a stop word in a quoted phrase).
Phrase: TypeAlias = tuple[str | None, ...]

TERMS_MAX = 10
TOKENS_MAX = 1_000
PREFIX_WORDS_MAX = 1_000
SYNONYMS_MAX = 50
SYNONYM_WORDS_MAX = 100
_HARD_STEP = 7


@dataclass(slots=True, eq=False)
class QueryTerm:
    """What one term or n-gram of the query can stand for; equality is identity."""

    original: str
    positions: tuple[int, int]  #: first and last query position
    is_prefix: bool = False
    typos: int = 0
    phrase: Phrase | None = None  #: set for quoted phrases only
    ngram_words: tuple[str, ...] | None = None
    exact: str | None = None  #: the word itself, if the index has it
    prefix_of: tuple[str, ...] = ()
    stored_prefix: str | None = None  #: resolved as a whole instead of through `prefix_of`
    synonyms: tuple[Phrase, ...] = ()
    typo_words: TypoWords = NO_TYPO_WORDS
    split: Phrase | None = None
    is_complete: bool = False  #: `typo_words` and `split` are looked up

    def complete(self, text: TextIndex, find_split: Callable[[str], Phrase | None]) -> None:
        """Look up typos and the split, once."""
        if self.is_complete:
            return
        self.is_complete = True
        if self.typos:
            self.typo_words = typo_words(text, self.original, self.typos, is_prefix=self.is_prefix)
        if self.phrase is None:
            split = find_split(self.original)
            if split is not None and not (self.typos <= 1 and split == self.ngram_words):
                self.split = split

    def computed_phrases(self) -> list[Phrase]:
        """Every phrase that was derived so far (for highlighting)."""
        quoted = [] if self.phrase is None else [self.phrase]
        split = [] if self.split is None else [self.split]
        return [*quoted, *self.synonyms, *split]


def computed_words(terms: Sequence[QueryTerm]) -> list[list[str]]:
    """For each term every single word that was derived so far, in the order in which the query met them.

    The order decides which of several words a text's word is shown to match: words as typed and what they are
    prefixes of come first, term after term; then words with typos, however many, in byte order.
    """
    met: dict[str, int] = {}
    for term in terms:
        for word in (term.original, *term.prefix_of):
            met.setdefault(word, len(met))
    for term in terms:
        for word in sorted((*term.typo_words.one, *term.typo_words.two)):
            met.setdefault(word, len(met))
    return [sorted(_words_of(term), key=met.__getitem__) for term in terms]


def _words_of(term: QueryTerm) -> set[str]:
    exact = () if term.exact is None else (term.exact,)
    return {*exact, *term.prefix_of, *term.typo_words.one, *term.typo_words.two}


@dataclass(slots=True)
class ParsedQuery:
    """Terms in query order (without n-grams), and what must not match."""

    terms: list[QueryTerm] = field(default_factory=list)
    negative_words: list[str] = field(default_factory=list)
    negative_phrases: list[Phrase] = field(default_factory=list)


def parse_query(text: TextIndex, query: str, languages: Sequence[str] | None = None) -> ParsedQuery:
    """Parse at most `TERMS_MAX` terms of a query against one index version.

    `languages` (three letters): those that the query may be in, None when it may be any.
    """
    return _Parser(text).parse(list(islice(text.tokenizer.tokenize(query, languages), TOKENS_MAX)))


class _Parser:
    """State of one pass over the tokens."""

    def __init__(self, text: TextIndex) -> None:
        self._text = text
        self._parsed = ParsedQuery()
        self._position = -1
        self._phrase: _OpenPhrase | None = None
        self._is_negative_phrase = False
        self._negate_next = False

    def parse(self, tokens: list[Token]) -> ParsedQuery:
        after_space = True
        for place, token in enumerate(tokens):
            if not token.lemma:
                continue
            if len(self._parsed.terms) >= TERMS_MAX:
                return self._parsed
            if token.is_word:
                self._read_word(token, is_last=place == len(tokens) - 1)
            else:
                self._read_separator(token, after_space)
            after_space = token.lemma[-1].isspace()
        self._close_phrase()
        return self._parsed

    def _read_word(self, token: Token, *, is_last: bool) -> None:
        self._position += 1
        if self._phrase is not None:
            self._phrase.push(None if token.kind == Kind.STOP_WORD else token.lemma, self._position)
        elif self._negate_next:
            self._parsed.negative_words.append(token.lemma)
            self._negate_next = False
        elif is_last or token.kind == Kind.WORD:
            is_prefix = is_last and self._text.rules.prefix_search
            self._parsed.terms.append(
                word_term(self._text, token.lemma, (self._position,) * 2, is_prefix=is_prefix)
            )

    def _read_separator(self, token: Token, after_space: bool) -> None:
        if token.kind == Kind.HARD:
            self._position += _HARD_STEP
            if self._phrase is not None:
                # The phrase ends here and, still inside the quotes, another one begins.
                self._emit_phrase()
                self._phrase = _OpenPhrase()
        quotes = token.lemma.count('"')
        if quotes:
            if self._phrase is not None:
                quotes -= 1
                if self._emit_phrase():
                    self._is_negative_phrase = False
            self._phrase = None
            if quotes % 2 == 1:
                self._is_negative_phrase = self._negate_next
                self._phrase = _OpenPhrase()
        self._negate_next = self._phrase is None and token.lemma == "-" and after_space

    def _close_phrase(self) -> None:
        if self._phrase is not None:
            self._emit_phrase()
            self._phrase = None

    def _emit_phrase(self) -> bool:
        """Keep the open phrase if it has a word; says whether it was a negative one."""
        phrase = self._phrase
        assert phrase is not None
        if not any(phrase.words):
            return False
        words = tuple(phrase.words)
        if self._is_negative_phrase:
            self._parsed.negative_phrases.append(words)
            return True
        self._parsed.terms.append(
            QueryTerm(
                " ".join(filter(None, words)), (phrase.start, phrase.end), phrase=words, is_complete=True
            )
        )
        return False


class _OpenPhrase:
    """A phrase whose closing quote has not come yet."""

    __slots__ = ("end", "start", "words")

    def __init__(self) -> None:
        self.words: list[str | None] = []
        self.start = self.end = 0

    def push(self, word: str | None, position: int) -> None:
        if not any(self.words):
            self.start = position
        self.end = position
        self.words.append(word)


def word_term(
    text: TextIndex,
    word: str,
    positions: tuple[int, int],
    *,
    is_prefix: bool,
    typos: int | None = None,
    ngram_words: tuple[str, ...] | None = None,
) -> QueryTerm:
    """A term for one word or n-gram, with its zero-typo content."""
    if len(word.encode()) > MAX_WORD_BYTES:
        return QueryTerm(word, positions, ngram_words=ngram_words, is_complete=True)
    term = QueryTerm(
        word,
        positions,
        is_prefix=is_prefix,
        typos=text.rules.typos_allowed(word) if typos is None else typos,
        ngram_words=ngram_words,
        exact=word if word in text.postings else None,
        synonyms=_limited(text.synonyms.get((word,), ())),
    )
    if is_prefix:
        if text.is_stored_prefix(word):
            term.stored_prefix = word
        else:
            longer = (w for w in text.words_starting_with(word) if w != word)
            term.prefix_of = tuple(islice(longer, PREFIX_WORDS_MAX))
    return term


def _limited(synonyms: tuple[tuple[str, ...], ...]) -> tuple[Phrase, ...]:
    kept: list[Phrase] = []
    words = 0
    for phrase in synonyms[:SYNONYMS_MAX]:
        if words + len(phrase) <= SYNONYM_WORDS_MAX:
            words += len(phrase)
            kept.append(phrase)
    return tuple(dict.fromkeys(kept))


def ngram_term(text: TextIndex, parts: list[QueryTerm]) -> QueryTerm | None:
    """The concatenation of neighbouring word terms, or None if they cannot be joined."""
    if any(part.phrase is not None for part in parts):
        return None
    if any(right.positions[0] != left.positions[1] + 1 for left, right in pairwise(parts)):
        return None
    words = tuple(part.original for part in parts)
    joined = "".join(words)
    if len(joined.encode()) > MAX_WORD_BYTES:
        return None
    term = word_term(
        text,
        joined,
        (parts[0].positions[0], parts[-1].positions[1]),
        is_prefix=parts[-1].is_prefix,
        typos=max(text.rules.typos_allowed(joined) - (len(parts) - 1), 0),
        ngram_words=words,
    )
    phrases: tuple[Phrase, ...] = text.synonyms.get(words, ())
    term.synonyms = tuple(dict.fromkeys((*term.synonyms, *phrases)))
    return term
