"""Find secrets and personal data in a text, by shape and checksum.

Theory
------
Looking for twenty shapes at every character would cost more than routing itself. So each is
looked for only where it can be: tokens in words of 16 characters or more, assignments at their
keyword, addresses at their `@` or `://`, numbers at their digits. What is then matched is matched
at that place and with bounded repeats, no two neighbours of which share a character: time is
linear in the text (about 30 ns a character), whoever wrote it.

Numbers count as personal by their checksum, their written form or the word before them, never by
their length alone. Names, postal addresses and health are not looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

# Tokens: whole words, told by their prefix.

_WORD_LENGTH: Final = 16
_TOKENS: Final = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?P<api_key>sk-(?=[A-Za-z_-]{0,60}\d)[A-Za-z0-9_-]{16,250}|[sr]k_(?:live|test)_\w{10,200})"
    r"|(?P<aws_key>(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9]))"
    r"|(?P<repository_token>gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_\w{22,255}"
    r"|glpat-[A-Za-z0-9_-]{20,64}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,255})"
    r"|(?P<service_token>xox[abpr]-[A-Za-z0-9-]{10,250}|xapp-[A-Za-z0-9-]{20,250}"
    r"|AIza[A-Za-z0-9_-]{35}|(?:hf|gsk)_[A-Za-z0-9]{30,64}|xai-[A-Za-z0-9]{40,120}"
    r"|ya29\.[A-Za-z0-9_-]{20,250}|SG\.[A-Za-z0-9_-]{16,40}\.[A-Za-z0-9_-]{16,64})"
    r"|(?P<jwt>eyJ[A-Za-z0-9_-]{8,4000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{8})"
    r")"
)

# Assignments: a keyword, a sign or verb, a value. Matched in lower case, at the marker.

_VALUE: Final = (
    r"[\"']?(?: {0,3}(?::=|=>|=|:|：) {0,3}|"
    r" (?:is|ist|es|est|è|é|to|lautet|jest) |(?:是|为|は|는) ?)"
    r"[\"'`]?(?P<value>[^\s\"'`,;]{6,64})"
)
_ASSIGNMENTS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (marker, re.compile(keyword + _VALUE))
    for marker, keyword in (
        ("pass", r"(?<![a-z])pass(?:word|wort|wd|phrase|e(?<=mot de passe))"),
        ("pwd", r"(?<![a-z])pwd"),
        ("secret", r"(?<![a-z])secret(?:[_-]?access)?(?:[_-]?key)?"),
        ("token", r"(?:(?<=access[_-])|(?<=auth[_-])|(?<=api[_-])|(?<=refresh[_-]))token"),
        ("key", r"(?:(?<=api)|(?<=api[_-])|(?<=access[_-])|(?<=account)|(?<=account[_-]))key"),
        ("kennwort", "kennwort"),
        ("contrase", "contraseña"),
        ("senha", r"(?<![a-z])senha"),
        ("wachtwoord", "wachtwoord"),
        ("hasło", "hasło"),
        ("пароль", "пароль"),
        ("密码", "密码"),
        ("密碼", "密碼"),
        ("パスワード", "パスワード"),
        ("비밀번호", "비밀번호"),
    )
)
_PLACEHOLDER: Final = re.compile(
    r"[<\[{(*$%]|your|example|placeholder|changeme|dummy|redacted|xxx|\.\.\.|environ|getenv|"
    r"process\.env|config|settings|secrets?\.|null|none|true|false|string|required|optional"
)
_KEY_BLOCK: Final = re.compile(r"(?<=-----begin )(?:[a-z0-9]{1,12} ){0,3}private key")
_BEARER: Final = re.compile(r"bearer (?=[a-z._~+/=-]{0,60}\d)[a-z0-9._~+/=-]{20}")
_LOGIN: Final = re.compile(r"://[^\s:/@\"']{0,64}:(?P<value>[^\s/@\"']{3,128})@[a-z0-9\[]")

# Addresses.

_DOMAIN: Final = re.compile(r"@(?:[a-z0-9-]{1,63}\.){1,5}[a-z]{2,24}(?![\w@])")
_LOCAL_PART: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._%+-")
_NO_PERSON: Final = frozenset({"git", "noreply", "no-reply", "donotreply", "root"})

# Numbers. Each pattern begins with a plain set of characters, which `re` finds fast; what must
# not stand before it is looked at behind that first character.

_NUMBER: Final = re.compile(
    r"[+(\d](?<![\w.,-][+(\d])(?=\(?\d)[\d ()./-]{6,40}(?<=\d)(?![\w]|[.,]\d)"
)
_CARD: Final = re.compile(r"\d(?:[ -]?\d){12,18}")
_SSN: Final = re.compile(r"(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}")
_INTERNATIONAL: Final = re.compile(
    r"\+(?:[1-9]\d{0,2}[ .()/-]{1,2}\d[\d ().-]{5,17}\d|[1-9]\d{9,14})"
)
_AMERICAN: Final = re.compile(r"(?:\+?1[ .-])?\(?[2-9]\d{2}\)?[ .-]{1,2}[2-9]\d{2}[.-]\d{4}")
_PHONE_WORD: Final = re.compile(
    r"(?:(?<![a-z])(?:tel|phone|telephone|mobile|handy|telefon|teléfono|telefono|téléphone|móvil|"
    r"portable|celular|cellulare|whatsapp)(?:nummer| number|number)?|call me|телефон|电话|電話|"
    r"手机号?|전화)(?: is| ist| es| est| on| at|是)?[ .:：#]{0,3}$"
)
_BEFORE: Final = 32
"""Characters before a number that are looked at for a word such as `phone`."""

_IBAN: Final = re.compile(
    r"\d\d(?<=[a-z]{2}\d\d)(?<![a-z0-9][a-z]{2}\d\d)(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?"
)
IBAN_LENGTHS: Final[Mapping[str, int]] = {
    "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20,
    "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18,
    "NO": 15, "PL": 28, "PT": 25, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24,
    "TR": 26, "UA": 29, "AE": 23, "BR": 29,
}  # fmt: skip


def sensitivity_of(text: str) -> str:
    """Return "secret", "pii" or "" for nothing found; a secret weighs more."""
    found = found_in(text)
    return found[0] if found else ""


def found_in(text: str) -> tuple[str, str] | None:
    """Return (kind, name of the first shape found), None for nothing; never the match itself."""
    # The one letter whose lower case is two characters would shift all places behind it.
    lower = text.replace("İ", "I").lower()
    secret = _token_in(text) or _assignment_in(lower)
    if secret is not None:
        return "secret", secret
    person = _address_in(lower) or _number_in(lower)
    return None if person is None else ("pii", person)


def _token_in(text: str) -> str | None:
    for word in text.split():
        if len(word) >= _WORD_LENGTH:
            match = _TOKENS.search(word)
            if match is not None:
                return (match.lastgroup or "token").replace("_", " ")
    return None


def _assignment_in(lower: str) -> str | None:
    for at in _places(lower, "private key"):
        start = lower.rfind("-----begin ", max(0, at - 64), at)
        if start >= 0 and _KEY_BLOCK.match(lower, start + len("-----begin ")):
            return "private key"
    if any(_BEARER.match(lower, at) for at in _places(lower, "bearer ")):
        return "bearer token"
    for at in _places(lower, "://"):
        match = _LOGIN.match(lower, at)
        if match is not None and not _PLACEHOLDER.match(match.group("value")):
            return "connection string"
    for marker, pattern in _ASSIGNMENTS:
        for at in _places(lower, marker):
            match = pattern.match(lower, at)
            if match is not None and _is_value(match.group("value")):
                return "password"
    return None


def _places(text: str, marker: str) -> Iterator[int]:
    at = text.find(marker)
    while at >= 0:
        yield at
        at = text.find(marker, at + len(marker))


def _is_value(value: str) -> bool:
    """Is what was assigned a value rather than a placeholder, a type, a call or a word?"""
    core = value.rstrip(".,;:!?)")
    # The cheap question first: a text may repeat a keyword thousands of times.
    return bool(core) and not core.isalpha() and not _PLACEHOLDER.search(value[:40])


def _address_in(lower: str) -> str | None:
    for at in _places(lower, "@"):
        start = at
        while start > 0 and at - start < 65 and lower[start - 1] in _LOCAL_PART:
            start -= 1
        local = lower[start:at].lstrip(".-%+")
        if local and at - start < 65 and local not in _NO_PERSON and _DOMAIN.match(lower, at):
            return "e-mail"
    return None


def _number_in(lower: str) -> str | None:
    for match in _IBAN.finditer(lower):
        if _is_iban(lower[match.start() - 2 : match.end()]):
            return "IBAN"
    for match in _NUMBER.finditer(lower):
        name = _personal_number(
            match.group(), lower[max(0, match.start() - _BEFORE) : match.start()]
        )
        if name is not None:
            return name
    return None


def _personal_number(number: str, before: str) -> str | None:
    """Name what `number` is: 1. a card by its checksum. 2. a social security number and 3. a
    phone by the way it is written. 4. a phone by the word before it."""
    for card in _CARD.finditer(number):
        if _is_card(card.group()):
            return "card"
    if _SSN.fullmatch(number):
        return "US social security number"
    if _AMERICAN.fullmatch(number):
        return "phone"
    if _INTERNATIONAL.fullmatch(number) and not re.search(r"[=*/^)]$|\d $", before):
        return "phone"
    digits = sum(map(str.isdigit, number))
    if 7 <= digits <= 15 and _PHONE_WORD.search(before):
        return "phone"
    return None


def _is_card(text: str) -> bool:
    """Check issuer prefix and Luhn's sum (ISO/IEC 7812-1)."""
    digits = [int(char) for char in text if char.isdigit()]
    head = digits[0]
    if head not in (2, 3, 4, 5, 6) or len(set(digits)) < 2:
        return False
    if head == 3 and digits[1] not in (0, 4, 5, 6, 7, 8):
        return False
    if head == 2 and not 2221 <= int("".join(map(str, digits[:4]))) <= 2720:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """Check the country's length and the remainder modulo 97 (ISO 13616)."""
    text = text.replace(" ", "").upper()
    length = IBAN_LENGTHS.get(text[:2], 0)
    if not length or len(text) < length:
        return False
    text = text[:length]
    number = "".join(str(int(char, 36)) for char in text[4:] + text[:4])
    return int(number) % 97 == 1
