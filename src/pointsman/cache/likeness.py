"""How alike two questions are in their words, and whether they may mean the same. Pure.

Theory. No model is asked: this knows spelling, not meaning. Two questions are *alike* by the
cosine of the sets of their letter groups and word pairs, hashed to places in a bit field. Being
alike is not enough: "with" and "without" differ in three letters, and 2023 and 2024 in one digit.
So two questions *may mean the same* only where every word is the same and in the same order, but
for courtesy at both ends, articles, contractions, a plural, and the capital letter that begins a
sentence. Numbers, negations, names and every other word have to be the same. Questions that work
on a text, or quote one, are left alone: there every letter counts.

So another word for the same thing is never a hit: what this finds is the same question in another
dress. It was built to be wrong as seldom as can be; tests/cache/pairs.py has the measure.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from math import sqrt
from typing import Final
from zlib import crc32

import msgspec

BITS: Final = 16_384
"""Places in the field: a question of 2,000 characters fills an eighth of it."""
GROUP: Final = 3
"""Letters of a group, over each word with its borders."""

GREETINGS: Final = ("hi there", "hello there", "hey there", "hi", "hello", "hey", "ok", "okay")
THANKS: Final = ("thank you very much", "thanks a lot", "thank you", "thanks", "thx", "please")
"""Courtesy at both ends; set off by a sign, or it may be what the question is about."""
OPENINGS: Final = tuple(
    tuple(phrase.split())
    for phrase in (
        *("please", "kindly", "can you", "could you", "would you", "will you"),
        *("can you please", "could you please", "would you please", "tell me", "let me know"),
        *("do you know", "i want to know", "i would like to know", "i d like to know"),
    )
)
"""Phrases at the beginning of a question that say nothing."""
ARTICLES: Final = frozenset({"a", "an", "the"})
IS_SHORT: Final = frozenset({"what", "who", "where", "when", "how", "why", "it", "that", "there"})
"""After these, an 's is "is"."""

ON_TEXT: Final = frozenset(
    {
        *("translate", "spell", "spelling", "spelled", "rewrite", "rephrase", "paraphrase"),
        *("correct", "proofread", "count", "letter", "letters", "vowel", "vowels", "word", "words"),
        *("sentence", "sentences", "phrase", "article", "articles", "character", "characters"),
        *("repeat", "echo", "capitalize", "rhyme", "rhymes", "pronounce", "grammar", "mean"),
        *("means", "meaning", "define", "definition", "synonym", "synonyms", "antonym"),
        *("antonyms", "anagram", "palindrome", "acronym", "title", "regex", "plural", "say"),
    }
)
"""Words of questions about words: there an article or a plural is what is asked about."""
_QUOTES: Final = re.compile(r"[\"“”„«»`\n\r\t:;{}\[\]<>|\\=]|(?<!\w)'|'(?!\w)")

_WORD: Final = re.compile(r"[^\W_]+(?:[.,/%°€$£@_+#&*^’'-]+[^\W_]+)*|[^\w\s.,?!'’()…]+", re.UNICODE)
_PLURAL_LETTERS: Final = 5
"""A shorter word with an s is another word: new and news, good and goods."""


class Likeness(msgspec.Struct, frozen=True, gc=False):
    """`words` in their order; `names` are those with capital letters that no sentence gave them.
    `field` has `places` bits set."""

    words: tuple[str, ...]
    names: tuple[str, ...]
    field: int
    places: int


NOTHING_ALIKE: Final = Likeness((), (), 0, 0)


def likeness_of(text: str) -> Likeness:
    if _QUOTES.search(text):
        return NOTHING_ALIKE
    text = _without_thanks(_without_greeting(text.strip()))
    words: list[str] = []
    names: list[str] = []
    begins = True
    for found in _WORD.finditer(text):
        word = found.group()
        # The capital that begins a sentence says nothing; that of "I" is always there.
        if (word[1:] != word[1:].lower()) or (word[0].isupper() and not begins and word != "I"):
            names.append(word)
        words += _plain(word.casefold())
        begins = text[found.end() : found.end() + 1] in (".", "?", "!")
    words = _bare(words)
    if not ON_TEXT.isdisjoint(words):
        return NOTHING_ALIKE
    field = 0
    for place in _places(words):
        field |= 1 << place
    return Likeness(tuple(words), tuple(names), field, field.bit_count())


def _without_greeting(text: str) -> str:
    head = text[:20].casefold()
    for greeting in GREETINGS:
        if head.startswith(greeting):
            rest = text[len(greeting) :].lstrip()
            return rest.lstrip(",.! ") if rest[:1] in (",", ".", "!") else text
    return text


def _without_thanks(text: str) -> str:
    ended = text.rstrip(" .!")
    tail = ended[-24:].casefold()
    for thanks in THANKS:
        if tail.endswith(thanks):
            rest = ended[: -len(thanks)].rstrip()
            return rest if rest[-1:] in (",", ".", "!", "?") else text
    return text


def _plain(word: str) -> list[str]:
    head, _, tail = word.replace("’", "'").partition("'")
    if not tail:
        return [head]
    return [head, "is"] if tail == "s" and head in IS_SHORT else [head, tail]


def _bare(words: list[str]) -> list[str]:
    """Take phrases that say nothing off the beginning, and articles out."""
    start = 0
    while size := _opening(words[start:]):
        start += size
    return [word for word in words[start:] if word not in ARTICLES]


def _opening(words: list[str]) -> int:
    """Words of the longest phrase they begin with; never all of them."""
    fits = (len(each) for each in OPENINGS if tuple(words[: len(each)]) == each)
    return max((size for size in fits if size < len(words)), default=0)


def _places(words: list[str]) -> set[int]:
    found: set[int] = set()
    for word in words:
        found.update(_groups(word))
    for pair in pairwise(words):
        found.add(crc32(" ".join(pair).encode("utf-8", "surrogatepass")) % BITS)
    return found


@lru_cache(maxsize=4096)
def _groups(word: str) -> frozenset[int]:
    framed = f"^{word}$".encode("utf-8", "surrogatepass")
    return frozenset(
        crc32(framed[at : at + GROUP]) % BITS for at in range(max(1, len(framed) - GROUP + 1))
    )


def similarity(one: Likeness, other: Likeness) -> float:
    """The cosine of the two sets, in [0, 1]."""
    if not one.places or not other.places:
        return 0.0
    return (one.field & other.field).bit_count() / sqrt(one.places * other.places)


def may_mean_the_same(one: Likeness, other: Likeness) -> bool:
    """Refuse where any word differs, or a name's capital letters do."""
    if not one.words or len(one.words) != len(other.words) or one.names != other.names:
        return False
    return all(map(_is_same, one.words, other.words))


def _is_same(one: str, other: str) -> bool:
    """The same word, or its plural; nothing that holds a digit or a sign."""
    if one == other:
        return True
    if not (one.isalpha() and other.isalpha()):
        return False
    short, long = sorted((one, other), key=len)
    return len(short) >= _PLURAL_LETTERS and long == short + "s" and not short.endswith("s")
