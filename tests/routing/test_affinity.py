"""Who read a beginning: chains of hashes, and the table that remembers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pointsman.domain.call import Caller
from pointsman.domain.content import Message, Text, Tool
from pointsman.domain.request import ChatRequest, EmbeddingsRequest, Source
from pointsman.routing.affinity import MOST_BLOCKS, Readers, chain_of, kept

ANN = Caller(key="ann", tenant="north")
SYSTEM = Message("system", (Text("You answer for the railway. " * 100),))


def asked(*texts: str, tools: tuple[Tool, ...] = ()) -> ChatRequest:
    said = tuple(Message("user", (Text(text),)) for text in texts)
    return ChatRequest("auto", (SYSTEM, *said), tools=tools)


def test_a_conversation_that_goes_on_keeps_its_links() -> None:
    first = chain_of(asked("when does it leave? " * 100), ANN)
    longer = chain_of(asked("when does it leave? " * 100, "and from where? " * 100), ANN)
    assert 0 < len(first) < len(longer)
    assert longer[: len(first)] == first


def test_another_beginning_shares_no_link() -> None:
    tools = (Tool("timetable", "look up " * 200),)
    assert not set(chain_of(asked("x" * 5000), ANN)) & set(
        chain_of(asked("x" * 5000, tools=tools), ANN)
    )


def test_two_conversations_share_what_they_have_in_common() -> None:
    one, other = chain_of(asked("a" * 9000), ANN), chain_of(asked("b" * 9000), ANN)
    common = [link for link in one if link in other]
    assert common == list(one[: len(common)])
    assert 0 < len(common) < len(one)


def test_tenants_never_share_a_link() -> None:
    request = asked("the same text " * 500)
    others = (
        Caller(key="ann", tenant="south"),
        Caller(key="ann"),
        Caller(key="bob"),
        Caller(key="north"),
    )
    chains = [set(chain_of(request, caller)) for caller in (ANN, *others)]
    assert len(set.union(*chains)) == sum(map(len, chains))


def test_keys_of_one_tenant_share_their_links() -> None:
    request = asked("the same text " * 500)
    assert chain_of(request, ANN) == chain_of(request, Caller(key="bob", tenant="north"))


def test_a_short_prompt_and_texts_to_embed_have_no_chain() -> None:
    assert chain_of(ChatRequest("auto", (Message("user", (Text("hi"),)),)), ANN) == ()
    assert chain_of(EmbeddingsRequest("m", ("x" * 9000,), Source("openai", b"")), ANN) == ()


def test_a_chain_is_bounded_and_takes_any_text() -> None:
    assert len(chain_of(asked("\ud800 lone and é\0" * 200_000), ANN)) == MOST_BLOCKS


def test_the_longest_beginning_wins() -> None:
    readers = Readers()
    whole = chain_of(asked("a" * 9000), ANN)
    readers.remember(whole[:2], "short", 0.0)
    assert readers.find(whole, 1.0) == "short"
    readers.remember(whole, "long", 1.0)
    readers.remember(whole[:2], "short", 2.0)
    assert readers.find(whole, 3.0) == "long"
    assert readers.find(whole[:2], 3.0) == "short"
    assert readers.find((), 3.0) is None


def test_what_was_read_long_ago_is_forgotten() -> None:
    readers = Readers(ttl_s=10.0)
    chain = chain_of(asked("a" * 9000), ANN)
    readers.remember(chain, "one", 0.0)
    assert readers.find(chain, 9.9) == "one"
    assert readers.find(chain, 10.0) is None


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 16)), max_size=60))
def test_the_table_is_bounded_and_drops_the_longest_unused(uses: list[tuple[int, int]]) -> None:
    readers = Readers(most=20)
    order: dict[bytes, None] = {}
    for number, length in uses:
        chain = tuple(b"%d/%d" % (number, place) for place in range(length))
        readers.remember(chain, str(number), 0.0)
        for link in chain:
            order.pop(link, None)
            order[link] = None
    held = list(order)[-20:]
    assert len(readers) == len(held)
    assert all(readers.find((link,), 0.0) is not None for link in held)


@given(
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6),
    st.integers(0, 5),
    st.floats(0.0, 1.0),
)
def test_kept_odds_are_odds(raw: list[float], place: int, share: float) -> None:
    odds = [each / sum(raw) for each in raw]
    place %= len(odds)
    mixed = kept(odds, place, share)
    assert abs(sum(mixed) - 1) < 1e-9
    assert mixed[place] >= share - 1e-9
    if share == 1.0:
        assert mixed == [1.0 if i == place else 0.0 for i in range(len(odds))]
