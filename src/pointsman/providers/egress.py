"""Which addresses a name may lead to: asked at every connection, after the name was looked up.

Theory. An operator's URL names a host; who keeps that name's zone, or answers for it, decides
where its bytes go. A name that suddenly leads to 127.0.0.1 or to a cloud's metadata service turns
the gateway, and the key it sends along, against the house it stands in. So what a name resolved to
is looked at each time before it is dialled, the very addresses that were looked at are dialled, and
nobody asks again in between (no rebinding). One bad address spoils the whole answer: half of a
lie is not dialled either.

1. Addresses that nobody serves a model on (metadata services, link-local, multicast, reserved) are
   refused always, also where they are written out.
2. Private ones (loopback, the home networks, carrier NAT, unique local) are refused for names,
   unless the endpoint is declared private (`allow_private`) or the name says itself that it is
   (`localhost`, `.local`, `.internal`). A private address that is written out is meant.
3. What carries an IPv4 address inside (mapped, NAT64, 6to4) is judged by that one. An IPv6-only
   network reaches public providers by NAT64, so these are not simply refused.

The list is our own. `ipaddress.is_global` is not enough: it says True for 6to4, NAT64, site-local,
IPv4-compatible and all multicast addresses (measured on CPython 3.11). After the IANA
special-purpose registries for IPv4 and IPv6 (RFC 6890) and the metadata addresses that AWS, Azure,
Google, Oracle and Alibaba document.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final, Literal

Standing = Literal["public", "private", "never"]

_IPv4 = ipaddress.IPv4Address
_IPv6 = ipaddress.IPv6Address

_NEVER: Final = (
    "169.254.0.0/16",  # link-local: 169.254.169.254 is most clouds' metadata service
    "100.100.100.200/32",  # Alibaba's
    "168.63.129.16/32",  # Azure's wire server, a public address by its looks
    "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is Oracle's metadata service
    "192.0.2.0/24",  # documentation, as the next two
    "198.51.100.0/24",
    "203.0.113.0/24",
    "192.88.99.0/24",  # 6to4 relays, gone
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and 255.255.255.255
    "fd00:ec2::/32",  # AWS' metadata service and time server
    "fd20:ce::254/128",  # Google's
    "fe80::/10",  # link-local
    "ff00::/8",  # multicast
    "100::/64",  # discard
    "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
    "2001:db8::/32",  # documentation, as the next
    "3fff::/20",
    "5f00::/16",  # segment routing
)
_PRIVATE: Final = (
    "0.0.0.0/8",  # "this host": connecting to it reaches loopback
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",  # carrier NAT, and what private overlays are built in
    "198.18.0.0/15",  # benchmarks; proxies hand these out
    "::/127",  # unspecified and loopback
    "fc00::/7",
    "fec0::/10",  # site-local, deprecated and still routed
)
_CARRYING: Final = (
    # network, and how many bits stand below the IPv4 address in it
    ("::ffff:0:0/96", 0),  # mapped
    ("64:ff9b::/96", 0),  # NAT64
    ("64:ff9b:1::/48", 0),  # NAT64 of one's own
    ("::/96", 0),  # IPv4-compatible
    ("2002::/16", 80),  # 6to4
)
_NEVER_NETS: Final = tuple(ipaddress.ip_network(text) for text in _NEVER)
_PRIVATE_NETS: Final = tuple(ipaddress.ip_network(text) for text in _PRIVATE)
_CARRYING_NETS: Final = tuple((ipaddress.IPv6Network(text), below) for text, below in _CARRYING)
_WORST_FIRST: Final[tuple[Standing, ...]] = ("never", "private", "public")

_SAYS_SO: Final = (".localhost", ".local", ".internal")


def standing(address: str) -> Standing:
    """Judge a numeric address. Raises ValueError for what is none."""
    found = ipaddress.ip_address(address)
    if isinstance(found, _IPv6):
        if found.scope_id is not None:
            return "never"  # only link-local addresses have a zone
        at_hand = _listed(found)
        if at_hand != "public":
            return at_hand
        for network, below in _CARRYING_NETS:
            if found in network:
                return standing(str(_IPv4((int(found) >> below) & 0xFFFF_FFFF)))
        return "public" if int(found) >> 125 == 1 else "never"  # 2000::/3 is all that is routed
    return _listed(found)


def _listed(address: _IPv4 | _IPv6) -> Standing:
    if any(address in network for network in _NEVER_NETS):
        return "never"
    if any(address in network for network in _PRIVATE_NETS):
        return "private"
    return "public"


def says_private(host: str) -> bool:
    """Tell whether a name says by itself that it is of this machine or this house (RFC 6761,
    RFC 6762, and `.internal`, which ICANN set aside for it in 2024)."""
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(_SAYS_SO)


def objection(host: str, addresses: Iterable[str], *, allow_private: bool) -> str | None:
    """Say why `host` must not be dialled at any of `addresses`; None where it may.

    The text names no address: it may be shown to clients, whom the house's network is nothing to.
    """
    worst = min((standing(each) for each in addresses), key=_WORST_FIRST.index, default="public")
    if worst == "never":
        return f"{host} leads to an address that no model is served on; check base_url and DNS"
    if worst == "public" or allow_private or says_private(host) or _is_written_out(host):
        return None
    return (
        f"{host} leads into a private network; "
        "write `allow_private: true` at the provider if that is meant"
    )


def _is_written_out(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
