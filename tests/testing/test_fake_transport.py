from __future__ import annotations

import asyncio

import pytest

from pointsman.providers.transport import (
    Endpoint,
    HttpRequest,
    HttpResponse,
    Transport,
    TransportError,
    TransportFault,
)
from pointsman.testing import FakeClock, FakeTransport, Scripted, settle
from pointsman.testing.scripted import Break, FakeResponse, Forever, Pause, refused

REQUEST = HttpRequest(Endpoint("http://x/v1"), "/chat/completions", b"{}")


def as_transport(transport: Transport) -> Transport:
    """The type checker's own test that the fake has the Protocol's shape."""
    return transport


def as_response(response: HttpResponse) -> HttpResponse:
    return response


async def opened(*chunks: bytes | Pause | Forever | Break, clock: FakeClock | None = None) -> (
    tuple[FakeTransport, FakeResponse]
):  # fmt: skip
    transport = FakeTransport(Scripted(chunks=chunks), clock=clock)
    return transport, await transport.send(REQUEST)


async def test_answers_come_in_the_order_of_the_script() -> None:
    transport = FakeTransport(Scripted(429, {"Retry-After": "7"}), Scripted(chunks=(b"a", b"b")))
    first = as_response(await as_transport(transport).send(REQUEST))
    assert (first.status, first.headers) == (429, {"retry-after": "7"})
    assert await first.read() == b""
    second = await transport.send(REQUEST)
    assert await second.read() == b"ab"
    assert transport.requests == (REQUEST, REQUEST) and transport.unsettled == ()


async def test_each_scripted_piece_is_one_read_and_empty_ones_are_none() -> None:
    _, response = await opened(b"one", b"", b"two")
    assert [await response.read_some() for _ in range(4)] == [b"one", b"two", b"", b""]


async def test_a_responder_answers_what_no_script_does() -> None:
    transport = FakeTransport(responder=lambda request: Scripted(chunks=(request.path.encode(),)))
    response = await transport.send(REQUEST)
    assert await response.read() == b"/chat/completions"


async def test_a_request_that_nobody_scripted_is_an_error_of_the_test() -> None:
    with pytest.raises(AssertionError, match="nothing scripted for request 1, POST /chat"):
        await FakeTransport().send(REQUEST)


@pytest.mark.parametrize(
    ("fault", "sent"),
    [
        ("refused", False),
        ("connect_timeout", False),
        ("dns", False),
        ("tls", False),
        ("reset", True),
        ("protocol", True),
    ],
)
async def test_a_fault_before_the_head_says_whether_anything_was_sent(
    fault: TransportFault, sent: bool
) -> None:
    transport = FakeTransport(refused(fault))
    with pytest.raises(TransportError) as failure:
        await transport.send(REQUEST)
    assert (failure.value.fault, failure.value.sent) == (fault, sent)
    assert transport.exchanges[0].state == "broken" and transport.unsettled == ()


async def test_a_break_in_the_body_comes_after_what_came_before_it() -> None:
    transport, response = await opened(b"one", Break("protocol"))
    assert await response.read_some() == b"one"
    with pytest.raises(TransportError) as failure:
        await response.read_some()
    assert failure.value.fault == "protocol" and transport.exchanges[0].state == "broken"
    with pytest.raises(TransportError):
        await response.read_some()


async def test_reading_all_of_a_broken_body_raises() -> None:
    _, response = await opened(b"one", Break())
    with pytest.raises(TransportError):
        await response.read()


async def test_abort_wakes_a_waiting_read() -> None:
    transport, response = await opened(b"one", Forever())
    assert await response.read_some() == b"one"
    reading = asyncio.create_task(response.read_some())
    await settle()
    before = (reading.done(), len(transport.unsettled))
    response.abort()
    with pytest.raises(TransportError) as failure:
        await reading
    assert failure.value.fault == "reset"
    assert transport.exchanges[0].state == "aborted"
    assert (before, len(transport.unsettled)) == ((False, 1), 0)


async def test_abort_before_reading_and_twice_is_fine() -> None:
    transport, response = await opened(b"one")
    response.abort()
    response.abort()
    with pytest.raises(TransportError):
        await response.read_some()
    assert transport.exchanges[0].state == "aborted"


async def test_abort_after_the_end_changes_nothing() -> None:
    transport, response = await opened(b"one")
    assert await response.read() == b"one"
    response.abort()
    assert transport.exchanges[0].state == "read" and await response.read_some() == b""


async def test_cancelling_a_read_closes_the_connection() -> None:
    transport, response = await opened(Forever())
    reading = asyncio.create_task(response.read_some())
    await settle()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert transport.exchanges[0].state == "cancelled"


async def test_cancelling_a_send_that_hangs_closes_the_connection() -> None:
    transport = FakeTransport(Scripted(before=(Forever(),)))
    sending = asyncio.create_task(transport.send(REQUEST))
    await settle()
    states = [transport.exchanges[0].state]
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    states.append(transport.exchanges[0].state)
    assert states == ["sending", "cancelled"] and transport.unsettled == ()


async def test_pauses_take_the_clocks_time() -> None:
    clock = FakeClock()
    transport = FakeTransport(
        Scripted(before=(Pause(1.0),), chunks=(Pause(2.0), b"late")), clock=clock
    )
    sending = asyncio.create_task(transport.send(REQUEST))
    await clock.run_for(0.9)
    assert not sending.done()
    await clock.run_for(0.1)
    reading = asyncio.create_task((await sending).read_some())
    await clock.run_for(1.9)
    assert not reading.done()
    await clock.run_for(0.1)
    assert await reading == b"late"


async def test_a_pause_without_a_clock_is_an_error_of_the_test() -> None:
    with pytest.raises(RuntimeError, match="clock=FakeClock"):
        await FakeTransport(Scripted(before=(Pause(1.0),))).send(REQUEST)


async def test_two_reads_at_a_time_are_an_error_of_the_caller() -> None:
    _, response = await opened(Forever())
    first = asyncio.create_task(response.read_some())
    await settle()
    with pytest.raises(RuntimeError, match="two reads"):
        await response.read_some()
    first.cancel()
    await settle()


async def test_an_unread_answer_is_named() -> None:
    transport, _ = await opened(b"one")
    (left,) = transport.unsettled
    assert left.request is REQUEST and left.state == "open"


async def test_warming_and_closing_are_noted() -> None:
    transport = FakeTransport(Scripted())
    await transport.warm(REQUEST.endpoint)
    await transport.close()
    assert transport.warmed == [REQUEST.endpoint] and transport.is_closed
    with pytest.raises(RuntimeError, match="after close"):
        await transport.send(REQUEST)
