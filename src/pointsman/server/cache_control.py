"""What a request says of cached answers: `cache` in its body, or the header `cache-control`.

The body is addressed to us: what we do not know there is an error. The header may come from a
browser or a proxy: what we do not know there is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pointsman.cache.mark import Mark
from pointsman.domain.content import Json
from pointsman.domain.money import to_usd
from pointsman.domain.request import CacheControl
from pointsman.errors import InvalidRequest

LONGEST_S: Final = 31_536_000.0


def _flag(value: Json, param: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{param}: must be true or false", param=param)
    return value


def _seconds(value: Json, param: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{param}: must be a number of seconds", param=param)
    if not 0 <= value <= LONGEST_S:
        raise InvalidRequest(f"{param}: must be seconds from 0 to {LONGEST_S:.0f}", param=param)
    return float(value)


READERS: Final[Mapping[str, tuple[str, Callable[[Json, str], object]]]] = {
    "no-cache": ("no_cache", _flag),
    "no-store": ("no_store", _flag),
    "ttl": ("ttl_s", _seconds),
    "s-maxage": ("max_age_s", _seconds),
}
"""Fields of `cache`: (CacheControl field, reader)."""


def read_cache(value: Json, param: str) -> CacheControl:
    """Read the body's object. Raises InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{param}: must be an object", param=param)
    found: dict[str, object] = {}
    for name, given in value.items():
        if name not in READERS:
            raise InvalidRequest(
                f"{param}.{name[:80]}: unknown field; known are {', '.join(READERS)}",
                param=f"{param}.{name[:80]}",
            )
        if given is not None:
            field, read = READERS[name]
            found[field] = read(given, f"{param}.{name}")
    return CacheControl(**found)  # type: ignore[arg-type]


def cache_of_header(value: bytes) -> CacheControl | None:
    """Read the header (RFC 9111, 5.2.1); None where it says nothing that we know."""
    words = [word.strip().lower() for word in value.decode("latin-1").split(",")]
    age = next((word[8:].strip('"') for word in words if word.startswith("max-age=")), "")
    max_age_s = min(float(age), LONGEST_S) if age.isascii() and age.isdigit() else None
    said = CacheControl("no-cache" in words, "no-store" in words, None, max_age_s)
    return None if said == CacheControl() else said


def cache_headers(mark: Mark) -> list[tuple[bytes, bytes]]:
    """Say to the client what the cache did: nothing where there is none."""
    if not mark.word:
        return []
    if not mark.is_hit:
        return [(b"x-pointsman-cache", mark.word.encode())]
    headers = [
        (b"x-pointsman-cache", b"hit"),
        (b"age", str(int(mark.age_s)).encode()),
        (b"x-pointsman-saved-usd", f"{to_usd(mark.saved_nano):f}".encode()),
    ]
    if mark.word == "similar":
        headers.append((b"x-pointsman-cache-similarity", f"{mark.similarity:.3f}".encode()))
    return headers
