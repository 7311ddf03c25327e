"""KeyChain: a provider's API keys, so that one can be changed while the others serve.

    new --refused (401, 403)--> put aside --AGAIN_S over, or a reload--> tried again

The first key that is not put aside is used. An attempt that is refused is sent again with the
next key at once; a call under way keeps the key it began with. Where every key has been refused
the one that has rested longest is used: the breaker above then sees the refusals and opens.

Keys are told apart by their place ("key 1 of 2"), never by any part of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pointsman.config.settings import ProviderSettings, Secret

AGAIN_S = 300.0
"""Seconds before a refused key is tried again: a credential comes back by a person's hand."""

_log = logging.getLogger("pointsman")


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A key at its place, which counts from 0."""

    place: int
    secret: Secret


class KeyChain:
    """The keys of one provider, shared by its deployments. `now` is the clock's seconds."""

    __slots__ = ("_aside", "_keys", "_now", "_provider", "refusals")

    def __init__(self, provider: str, keys: Sequence[Secret], now: Callable[[], float]) -> None:
        self._provider = provider
        self._keys = _placed(keys)
        self._now = now
        self._aside: dict[int, float] = {}
        """Places that were refused, with the moment from which they may be tried again."""
        self.refusals = 0
        """How often a key was put aside, ever growing."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them in the clear, for whoever keeps them from being said."""
        return tuple(key.secret.reveal() for key in self._keys)

    def take(self) -> Key | None:
        """The key to use now; None where the provider wants none."""
        if not self._aside:
            return self._keys[0] if self._keys else None
        return self._free() or self._keys[min(self._aside, key=self._aside.__getitem__)]

    def refused(self, key: Key) -> Key | None:
        """Put aside what the provider refused; the next one to try, None where none is left."""
        place = self._place_of(key)
        if place is not None:
            now = self._now()
            is_news = self._aside.get(place, 0.0) <= now
            self._aside[place] = now + AGAIN_S
            if is_news:
                self.refusals += 1
                self._tell("key.refused", place)
        return self._free()

    def accepted(self, key: Key) -> None:
        """Forget that a key was refused, since the provider has taken it after all."""
        if self._aside and (place := self._place_of(key)) in self._aside:
            del self._aside[place]
            self._tell("key.accepted", place)

    def renew(self, keys: Sequence[Secret]) -> None:
        """Take other keys from now on, or the same ones anew."""
        self._keys = _placed(keys)
        self._aside.clear()

    @property
    def aside(self) -> int:
        """How many keys are put aside now."""
        now = self._now()
        return sum(1 for until in self._aside.values() if until > now)

    def _free(self) -> Key | None:
        """The first key that is not put aside, or has rested long enough."""
        now = self._now()
        return next((key for key in self._keys if self._aside.get(key.place, 0.0) <= now), None)

    def _place_of(self, key: Key) -> int | None:
        """Where a key is now: the chain may have been renewed since it was taken."""
        return next((each.place for each in self._keys if each.secret == key.secret), None)

    def _tell(self, event: str, place: int) -> None:
        _log.warning(
            "%s provider=%s key=%d of=%d usable=%d",
            event,
            self._provider,
            place + 1,
            len(self._keys),
            len(self._keys) - self.aside,
        )

    def __repr__(self) -> str:
        return f"KeyChain({self._provider}: {len(self._keys)} keys, {self.aside} put aside)"


def _placed(keys: Sequence[Secret]) -> tuple[Key, ...]:
    return tuple(Key(place, secret) for place, secret in enumerate(keys))


def keys_of(provider: ProviderSettings) -> tuple[Secret, ...]:
    """A provider's keys in the order in which they are tried."""
    return () if provider.key is None else (provider.key, *provider.spare_keys)
