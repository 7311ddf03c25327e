"""Tell the language of a text by its script and its commonest words.

A script that one language owns decides at once; in Latin, Cyrillic and Arabic script the words
and letters that only one language has are counted. Too little to go by is "und".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

LANGUAGE_CHARS: Final = 1500
"""More than this is not read: the start of a text tells its language."""

_SCRIPTS: Final = (
    ("ja", re.compile("[\u3041-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7a3\u1100-\u11ff]")),
    ("zh", re.compile("[\u4e00-\u9fff\u3400-\u4dbf]")),
    ("ru", re.compile("[\u0400-\u04ff]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("he", re.compile("[\u0590-\u05ff]")),
    ("el", re.compile("[\u0370-\u03ff]")),
    ("hi", re.compile("[\u0900-\u097f]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
)
_UKRAINIAN: Final = re.compile("[іїєґ]")
_PERSIAN: Final = re.compile("[پچژگی]")
_WORDS: Final = re.compile(r"[^\W\d_]+")

_COMMON: Final[Mapping[str, str]] = {
    "en": "the and of to in is that for it with as was on are this be have you not what how can "
    "please write my your i me do does from which why should would there their an by or if "
    "explain tell who when where some more between make give find following about we use",
    "de": "der die das und ist nicht ich ein eine zu mit den auf für im dem wie wir sie was kann "
    "bitte mir mein auch sich von werden oder einen als bei aus schreibe wenn wird sind über "
    "des einem einer noch warum ihre ihr hat es erkläre zwischen welche nach",
    "fr": "le la les et est des une un pour que qui dans ce pas je vous nous sur avec au du en ne "
    "il elle mon ma comment plus ou mais sont cette être pourquoi quel quelle écris peux tu "
    "moi par se aux entre fait votre ces explique quels texte",
    "es": "el la los las y es de que en un una por para con no se lo como mi su al más pero qué "
    "cómo este esta del escribe puedes son muy hay cuál cuáles sobre entre yo tu me si "
    "explica dame hace porque tiene explícame texto",
    "pt": "o a os as e é de que em um uma por para com não se como meu sua ao mais mas qual quais "
    "do da dos das no na nos você está são isso este esta muito pode escreva sobre entre "
    "porque eu me tem explique foi ser uns pelo",
    "it": "il lo la gli le e è di che in un una per con non si come mio sua al più ma del della "
    "dei sono questo questa puoi scrivi cosa perché anche quale quali nel nella mi tra io "
    "ho dammi spiega ci alla delle fra",
    "nl": "de het een en is van dat in niet te op met voor zijn ik je wat hoe kan aan ook om maar "
    "deze dit mijn schrijf naar bij als er wordt waarom uit door tussen over hij worden heeft "
    "welke mij leg",
    "pl": "i w nie na się jest z do to że jak o co dla czy po ale tak mój moja przez są od jego "
    "które który napisz proszę mi oraz między dlaczego wyjaśnij ten ta jakie może być jaka",
    "sv": "och är det att en ett som på för av med inte jag den vad hur kan till om min mitt men "
    "har de vi du skriv mellan varför från eller var så denna detta förklara mig ska i",
    "tr": "ve bir bu için ile ne nasıl mi mı değil çok daha olarak var benim ben sen da de gibi "
    "olan neden yaz kadar ama şu arasında açıkla bana hangi en lütfen midir nedir",
    "id": "yang dan di ini itu dengan untuk tidak dari dalam saya anda apa bagaimana adalah ke "
    "pada akan bisa tolong tulis jelaskan antara mengapa sebuah kami oleh juga atau",
    "cs": "a je v na se že to s z do jak co pro ale není které který jsem jsou při od nebo mezi "
    "proč napiš prosím můj má mi tento tato být jaké vysvětli jaký o ve",
    "vi": "và là của có cho không một các được trong này với những đó như thế nào tôi bạn hãy viết "
    "tại sao gì giữa về người khi để ở giải thích",
}
_LETTERS: Final = (
    ("vi", re.compile("[ăơưđạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ]")),
    ("pl", re.compile("[ąęłńśźż]")),
    ("cs", re.compile("[ěřů]")),
    ("tr", re.compile("[ğışİ]")),
    ("de", re.compile("[ß]")),
    ("pt", re.compile("[ãõ]")),
    ("es", re.compile("[ñ¿¡]")),
    ("sv", re.compile("[å]")),
    ("fr", re.compile("[œùê]")),
)
"""Letters that say much for one language; each counts as two of its common words, to six."""

_VOTES: Final[Mapping[str, tuple[str, ...]]] = {
    word: tuple(code for code, words in _COMMON.items() if word in words.split())
    for words in _COMMON.values()
    for word in words.split()
    if len(word) > 1 or not word.isascii()  # `a`, `x` and `y` are names in formulas, too
}

LANGUAGES: Final = frozenset(
    {*_COMMON, "ja", "ko", "zh", "ru", "uk", "ar", "fa", "he", "el", "hi", "th", "und"}
)


def language_of(text: str) -> str:
    """Return an ISO 639-1 code, or "und" where there is too little to go by.

    Fenced code is left out. A word counts for each language that has it, 1 / their number.
    """
    said = "\n".join(text[: 4 * LANGUAGE_CHARS].split("```")[::2])[:LANGUAGE_CHARS].lower()
    if not said.isascii() and (script := _script_of(said)) is not None:
        return script
    votes: dict[str, float] = {}
    for word in _WORDS.findall(said):
        codes = _VOTES.get(word, ())
        for code in codes:
            votes[code] = votes.get(code, 0.0) + 1 / len(codes)
    if not said.isascii():
        for code, letters in _LETTERS:
            found = len(letters.findall(said))
            if found:
                votes[code] = votes.get(code, 0.0) + min(6, 2 * found)
    if not votes:
        return "und"
    best = max(votes, key=lambda code: votes[code])
    return best if votes[best] >= 0.5 else "und"


def _script_of(said: str) -> str | None:
    letters = sum(map(str.isalpha, said))
    found = {code: len(script.findall(said)) for code, script in _SCRIPTS}
    if found["ja"] and found["ja"] * 10 >= found["zh"]:
        found["ja"] += found["zh"]
    code = max(found, key=lambda each: found[each])
    if found[code] * 4 < letters or not found[code]:
        return None
    if code == "ru" and _UKRAINIAN.search(said):
        return "uk"
    if code == "ar" and _PERSIAN.search(said):
        return "fa"
    return code
