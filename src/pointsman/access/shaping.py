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
        return msgspec.convert(fields, shape, strict=strict)
    except msgspec.ValidationError as error:
        said = str(error)
        found = (_PATH.search(said), _NAMED.search(said))
        steps = [match[1] for match in found if match is not None and match[1]]
        raise InvalidRequest(said, param=".".join(steps) or None) from None
