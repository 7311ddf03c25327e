"""Tell the task of a text by its words and marks: rules, no model, no network.

Words are looked up in one table over twelve languages; phrases and marks of code and
mathematics are searched for. The greatest sum wins; below THRESHOLD it is "chat". Case does not
matter, and neither does length: the instruction is what counts, so the first and the last words
count double in a long text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pointsman.routing.signals import Task

TASK_CHARS: Final = 2_000
EDGE_CHARS: Final = 240
THRESHOLD: Final = 2.0

_WORDS: Final = re.compile(r"[^\W\d_]+")

_WORDS_OF: Final[Mapping[Task, Mapping[float, str]]] = {
    "translation": {
        4: "translat* übersetz* tradui* traduc* traduz* tradur* vertaal* vertal* "
        "przetłumacz* översätt* çevir* перекла* terjemah* přelož*",
        3: "tłumacz* переве*",
    },
    "summary": {
        4: "summar* tldr zusammenfass* résum* resumen* resumo resumi* resuma resúm* "
        "riassum* riassunt* samenvat* streszcz* podsumuj* sammanfatt* özetle* ringkas*",
        3: "summeri* резюм* перескаж* condens* shrň recap sintetiz*",
        2: "shorten* fasse",
    },
    "code": {
        3: "refactor* nullpointerexception typeerror",
        2.5: "python* javascript typescript golang kotlin sql regex regexp dockerfile "
        "codebase debug* unittest* pytest stacktrace traceback* segfault",
        2: "java bash html css django docker kubernetes code coding compiler async код "
        "linter código codice npm webpack pandas numpy",
        1.5: "rust react function* bug compile exception* endpoint* algorithm* git programm* "
        "implement* script funktion* fonction función* função funzione funkcj* функци* "
        "postgres postgresql",
        1: "api array query variable*",
        0.5: "class method",
    },
    "math": {
        3: "eigenvalue*",
        2.5: "equation* integral* derivative* algebra polynomial* hypotenuse factorial "
        "gleichung* berechne* équation calcule ecuación calcula equação calcola* "
        "equazione oblicz równani* beräkna hesapla уравнени* вычисли* посчита* hitung "
        "ableitung bereken* vypočítej differentiate",
        2: "theorem* percentage* calculat* probabilit* triangle* calcul* modulo résous resuelve "
        "squared remainder",
        1.5: "matrix solve compute percent реши prime löse divided",
        1: "sum average",
    },
    "reasoning": {
        2.5: "prove proves proof deduce puzzle* riddle* tradeoff* beweis* démontre demuestra "
        "dimostra udowodnij докаж* контрпример* counterexample* fallacy rätsel* énigme* "
        "acertijo* knaves проанализируй*",
        2: "logic logical* logically reasoning* contradiction* paradox analyze analyse "
        "analysiere* logik implications analiza",
        1.5: "infer reason hypothesis compare evaluate argue weigh knights",
        1: "strategy",
    },
    "extraction": {
        4: "extract* extrahier* extrai* extrae* estrai* extrah* wyodrębnij extrahera "
        "извлек* ekstrak* извлеч* extrais",
        3.5: "classify categorize klassifizier*",
        3: "classifi* clasific* çıkar",
        2.5: "entities sentiment",
        2: "parse",
        1.5: "label fields wypisz",
        1: "json csv",
    },
    "creative": {
        4: "poem* haiku limerick* sonnet* lyrics screenplay* gedicht* poème* poema poesia* "
        "wiersz dikt şiir стих* puisi báseň märchen*",
        3.5: "slogan* tagline* racconto* cuento* сказк* verhaal* opowiadani* hikaye*",
        3: "poetry story fiction conto cerita*",
        2.5: "рассказ* song joke brainstorm* imaginative",
        2: "novel geschichte* histoire dialogue* saga essay",
        1.5: "historia",
        1: "character*",
    },
}
"""Task -> weight -> words; a word with a star stands for all that it begins."""

_PHRASES: Final[tuple[tuple[str, Task, float], ...]] = (
    ("```", "code", 3), ("def ", "code", 2), ("return ", "code", 1), ("():", "code", 2),
    (");\n", "code", 2),
    ("#include", "code", 3), ("import ", "code", 0.5), ("=> {", "code", 2), ("</", "code", 1.5),
    ("select * from", "code", 3), ("stack trace", "code", 2.5), ("unit test", "code", 3),
    ("pull request", "code", 2), ("public static", "code", 3), ("console.log", "code", 3),
    ("error:", "code", 1), ("null pointer", "code", 2.5), ("\\frac", "math", 3),
    ("\\int", "math", 3), ("\\sum", "math", 3), ("x^2", "math", 2.5), ("x²", "math", 2.5),
    ("how many", "math", 1.5), ("how much", "math", 1), ("square root", "math", 3),
    ("step by step", "reasoning", 2.5),
    ("prove that", "reasoning", 2), ("think carefully", "reasoning", 3),
    ("pros and cons", "reasoning", 3), ("trade-off", "reasoning", 2.5),
    ("schritt für schritt", "reasoning", 2.5), ("étape par étape", "reasoning", 2.5),
    ("paso a paso", "reasoning", 2.5), ("root cause", "reasoning", 2), ("what if", "reasoning", 1),
    ("if all ", "reasoning", 2), ("follows that", "reasoning", 2.5), ("tl;dr", "summary", 4),
    ("key points", "summary", 3), ("main points", "summary", 3), ("fass ", "summary", 1.5),
    ("fasst ", "summary", 1.5), ("in one sentence", "summary", 2), ("кратк", "summary", 2.5),
    ("in a nutshell", "summary", 2.5), ("faça um resumo", "summary", 4),
    ("into english", "translation", 3), ("ins deutsche", "translation", 3),
    ("ins englische", "translation", 3), ("en français", "translation", 2),
    ("en anglais", "translation", 2), ("al inglés", "translation", 3),
    ("al español", "translation", 3), ("in italiano", "translation", 2),
    ("naar het", "translation", 1.5), ("на английский", "translation", 3),
    ("how do you say", "translation", 3.5), ("wie sagt man", "translation", 3.5),
    ("comment dit-on", "translation", 3.5), ("cómo se dice", "translation", 3.5),
    ("once upon", "creative", 3), ("blog post", "creative", 2.5), ("wedding speech", "creative", 3),
    ("as json", "extraction", 2), ("als json", "extraction", 2), ("all dates", "extraction", 3),
    ("list all the", "extraction", 1.5), ("in json", "extraction", 1.5),
    ("all email", "extraction", 3), ("all names", "extraction", 3),
    # Languages written without spaces.
    ("翻译", "translation", 4), ("翻譯", "translation", 4), ("訳して", "translation", 4),
    ("翻訳", "translation", 4), ("번역", "translation", 4), ("总结", "summary", 4),
    ("總結", "summary", 4), ("摘要", "summary", 4), ("概括", "summary", 4), ("要約", "summary", 4),
    ("まとめて", "summary", 4), ("요약", "summary", 4), ("代码", "code", 2.5), ("程序", "code", 2),
    ("函数", "code", 2), ("コード", "code", 2.5), ("関数", "code", 2), ("코드", "code", 2.5),
    ("함수", "code", 2), ("报错", "code", 2.5), ("计算", "math", 2.5), ("方程", "math", 2.5),
    ("計算", "math", 2.5), ("方程式", "math", 1), ("계산", "math", 2.5), ("积分", "math", 2.5),
    ("证明", "reasoning", 3), ("証明", "reasoning", 3), ("증명", "reasoning", 3),
    ("推理", "reasoning", 2.5), ("分析", "reasoning", 2.5), ("분석", "reasoning", 2.5),
    ("逐步", "reasoning", 2.5), ("提取", "extraction", 4), ("抽出", "extraction", 4),
    ("추출", "extraction", 4), ("分类", "extraction", 3), ("分類", "extraction", 3),
    ("写一首", "creative", 4), ("诗", "creative", 2.5), ("故事", "creative", 2.5),
    ("詩", "creative", 3), ("物語", "creative", 3.5), ("俳句", "creative", 4),
    ("이야기", "creative", 2.5), ("시를", "creative", 3), ("ترجم", "translation", 4),
    ("لخص", "summary", 4), ("تلخيص", "summary", 4), ("قصيدة", "creative", 4),
    ("अनुवाद", "translation", 4), ("सारांश", "summary", 4), ("कविता", "creative", 4),
)  # fmt: skip

_NUMBER: Final = re.compile(r"\d+")
_SUM: Final = re.compile(r"\d ?[-+*/×÷^=] ?\d")

_EXACT: Final[Mapping[str, tuple[Task, float]]] = {
    word: (task, weight)
    for task, rows in _WORDS_OF.items()
    for weight, words in rows.items()
    for word in words.split()
}
_STEMS: Final[Mapping[str, tuple[Task, float]]] = {
    word[:-1]: found for word, found in _EXACT.items() if word.endswith("*")
}
_LENGTHS: Final = tuple(sorted({len(stem) for stem in _STEMS}, reverse=True))


def task_of(text: str) -> Task:
    """Return the task that most marks of `text` speak for; "chat" where hardly any does."""
    half = TASK_CHARS // 2
    said = (text if len(text) <= TASK_CHARS else f"{text[:half]} {text[-half:]}").lower()
    edges = said if len(said) <= 2 * EDGE_CHARS else f"{said[:EDGE_CHARS]} {said[-EDGE_CHARS:]}"
    score: dict[Task, float] = {}
    inner = set(_WORDS.findall(said))
    outer = inner if edges is said else set(_WORDS.findall(edges))
    for word in inner:
        found = _lookup(word)
        if found is not None:
            task, weight = found
            # In a long text only its edges are sure to be the instruction.
            score[task] = score.get(task, 0.0) + (weight if word in outer else weight / 4)
    for phrase, task, weight in _PHRASES:
        if phrase in edges:
            score[task] = score.get(task, 0.0) + weight
    if _SUM.search(edges):
        score["math"] = score.get("math", 0.0) + 2
    if ("how many" in edges or "how much" in edges) and len(_NUMBER.findall(said)) > 1:
        score["math"] = score.get("math", 0.0) + 1.5  # a word problem
    if not score:
        return "chat"
    best = max(score, key=lambda task: score[task])
    return best if score[best] >= THRESHOLD else "chat"


def _lookup(word: str) -> tuple[Task, float] | None:
    exact = _EXACT.get(word)
    if exact is not None:
        return exact
    for length in _LENGTHS:
        found = _STEMS.get(word[:length])
        if found is not None:
            return found
    return None
