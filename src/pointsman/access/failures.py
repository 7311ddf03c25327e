"""Failures to show a good key: counted by address and by key, and answered 429 when too many.

Theory. 256 random bits are not guessed, so this does not protect keys. It protects everybody
else from the work, and the operator from the noise, of somebody who tries all the same. So a good
key is never refused for the failures of others at its address, or for those with its own id:
whoever could do that had found a way to lock people out.

Each bucket holds `PER_MINUTE` failures and fills up again within a minute. Behind them one for
everybody bounds what a million addresses can cause.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

from pointsman.clock import Clock
from pointsman.errors import RateLimited

PER_MINUTE: Final = 10.0
ALL_PER_MINUTE: Final = 6000.0
"""Hundred a second over all addresses, in one worker."""
MOST_BUCKETS: Final = 20_000


class TooManyFailures(RateLimited):
    """The same for every reason, known and unknown ids alike."""

    code = "too_many_auth_failures"

    def __init__(self, wait_s: float) -> None:
        super().__init__(
            "too many requests without a good key; wait, and correct the key", retry_after_s=wait_s
        )


class _Bucket:
    """A token bucket: `most` at once, as many a minute."""

    __slots__ = ("at", "left", "most")

    def __init__(self, most: float, now: float) -> None:
        self.most = self.left = most
        self.at = now

    def wait_s(self, now: float) -> float:
        """Take one; the seconds until there is one where there is none."""
        self.left = min(self.most, self.left + (now - self.at) * self.most / 60)
        self.at = now
        if self.left >= 1:
            self.left -= 1
            return 0.0
        return (1 - self.left) * 60 / self.most


class Failures:
    """Counts failures; only who failed is counted, so who never does costs nothing."""

    def __init__(
        self,
        clock: Clock,
        *,
        per_minute: float = PER_MINUTE,
        all_per_minute: float = ALL_PER_MINUTE,
    ) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._everybody = _Bucket(all_per_minute, clock.now())
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self.counted = 0

    def count(self, address: str, key: str | None = None) -> None:
        """Count a failure from an address, with a key's public id where there was one.

        Raises TooManyFailures where there were too many before it.
        """
        self.counted += 1
        now = self._clock.now()
        names = [f"address {network_of(address)}"]
        if key is not None:
            names.append(f"key {key}")
        waits = [self._bucket(name, now).wait_s(now) for name in names]
        waits.append(self._everybody.wait_s(now))
        if (wait_s := max(waits)) > 0:
            raise TooManyFailures(wait_s)

    def _bucket(self, name: str, now: float) -> _Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= MOST_BUCKETS:
                self._buckets.popitem(last=False)
            bucket = self._buckets[name] = _Bucket(self._per_minute, now)
        else:
            self._buckets.move_to_end(name)
        return bucket

    def __len__(self) -> int:
        return len(self._buckets)

    def __repr__(self) -> str:
        return f"Failures({self.counted} counted, {len(self)} buckets)"


def network_of(address: str) -> str:
    """An address as one client has it: of IPv6 the /64, which is what one host is given."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))
