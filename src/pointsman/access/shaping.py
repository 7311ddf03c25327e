"""From fields that somebody sent to a type that says what may be in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pointsman.errors import InvalidRequest

_PATH: Final = re.compile(r"`\$\.?([^`]*)`$")
_NAMED: Final = re.compile(r"(?:unknown|required) field `([^`]*)`")


def shaped(shape: type[Any], fields: Mapping[str, object], *, strict: bool = True) -> Any:
    """Fields as their type wants them. Raises InvalidRequest, which names the field.

    strict: False reads numbers from texts, as queries and command lines have them.
    """
    try:
        msgspec.json.encode(fields)
        return msgspec.convert(fields, shape, strict=strict)
    except msgspec.ValidationError as error:
        said = str(error)
        found = (_PATH.search(said), _NAMED.search(said))
        steps = [match[1] for match in found if match is not None and match[1]]
        raise InvalidRequest(_words(said, steps), param=".".join(steps) or None) from None
    except UnicodeEncodeError:  # An argument of a command line that is no UTF-8.
        raise InvalidRequest("a value is no text in UTF-8") from None


def _words(said: str, steps: list[str]) -> str:
    """The field first; and no regular expression, of which there is one, that of names."""
    what, at, _ = said.partition(" - at ")
    if "matching regex" in what:
        what = "write letters, digits, dots, dashes and underscores, 64 at most"
    return f"{'.'.join(steps)}: {what}" if at and steps else what
