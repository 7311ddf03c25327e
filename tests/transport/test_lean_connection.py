"""One connection without a network: any split of the bytes, any bytes at all."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.providers.lean_connection import LeanConnection, LeanResponse
from pointsman.providers.transport import TransportError, TransportLimits

LIMITS = TransportLimits(header_bytes=512, header_count=10, body_bytes=4096, stream_buffer_bytes=64)
LENGTH = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH


class Socket(asyncio.Transport):
    """A transport that remembers what was done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unsent = 0
        self.is_aborted = False
        self._paused = False

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def is_reading(self) -> bool:
        return not self._paused

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False


class Home:
    """A pool that counts."""

    def __init__(self) -> None:
        self.freed = 0
        self.is_lost = False

    def opened(self, connection: LeanConnection) -> None: ...

    def free(self, connection: LeanConnection) -> None:
        self.freed += 1

    def lost(self, connection: LeanConnection) -> None:
        self.is_lost = True


def connected() -> tuple[LeanConnection, Socket, Home]:
    home, sock = Home(), Socket()
    connection = LeanConnection(home, LIMITS, lambda: 0.0)
    connection.connection_made(sock)
    return connection, sock, home


def body_of(response: LeanResponse) -> bytes:
    """Read an answer that needs no waiting any more."""
    reading = response.read()
    try:
        reading.send(None)
    except StopIteration as done:
        body: bytes = done.value
        return body
    raise AssertionError("it waits")


@given(st.lists(st.sampled_from([LENGTH, CHUNKED, INTERIM]), min_size=1, max_size=4), st.data())
def test_answers_split_anywhere_are_the_same(raws: list[bytes], data: st.DataObject) -> None:
    connection, sock, home = connected()
    for number, raw in enumerate(raws, 1):
        response = connection.start(b"head", b"body")
        cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=6).map(sorted))
        for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
            if start < end:
                connection.data_received(raw[start:end])
        assert response.status == 200
        assert body_of(response) == b"hello"
        assert home.freed == number
    assert sock.written == b"headbody" * len(raws)
    assert not sock.is_aborted


@given(st.lists(st.binary(max_size=80), max_size=8))
@example([b"HTTP/1.1 200 OK\r\n\r\n", b"abc"])
@example([b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: y\r\n\r\n", b"z"])
def test_no_bytes_at_all_break_out_of_the_connection(pieces: list[bytes]) -> None:
    connection, sock, home = connected()
    response = connection.start(b"head", b"")
    for piece in pieces:
        if piece and not sock.is_aborted:
            connection.data_received(piece)
    connection.eof_received()
    connection.connection_lost(None)
    assert response.complete or response.error is not None
    assert home.is_lost


@given(st.data())
def test_a_valid_answer_with_one_byte_changed_is_never_taken_for_longer_or_shorter(
    data: st.DataObject,
) -> None:
    """What is accepted has the length that it announced, whatever that is after the change."""
    raw = bytearray(data.draw(st.sampled_from([LENGTH, CHUNKED])))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    connection, _sock, _home = connected()
    response = connection.start(b"head", b"")
    connection.data_received(bytes(raw))
    connection.eof_received()
    connection.connection_lost(None)
    if response.complete and "content-length" in response.headers:
        assert len(body_of(response)) == int(response.headers["content-length"])


async def test_a_reader_who_is_slow_pauses_the_socket_until_he_reads() -> None:
    connection, sock, _ = connected()
    response = connection.start(b"head", b"")
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n" + bytes(64))
    assert sock.is_reading()
    connection.data_received(b"x")
    assert not sock.is_reading()
    assert len(await response.read_some()) == 65
    assert sock.is_reading()


async def test_a_paused_socket_goes_back_to_the_pool_awake() -> None:
    """Otherwise its end would not be noticed while it is idle."""
    connection, sock, home = connected()
    response = connection.start(b"head", b"")
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n" + bytes(100))
    assert not sock.is_reading()
    connection.data_received(bytes(100))
    assert home.freed == 1
    assert sock.is_reading()
    assert len(await response.read()) == 200


@pytest.mark.parametrize("unsent", [0, 1])
def test_a_connection_with_unsent_bytes_is_not_kept(unsent: int) -> None:
    connection, sock, home = connected()
    response = connection.start(b"head", b"body")
    sock.unsent = unsent
    connection.data_received(LENGTH)
    assert body_of(response) == b"hello"
    assert (home.freed, sock.is_aborted) == ((0, True) if unsent else (1, False))


def test_nobody_s_bytes_close_the_connection() -> None:
    connection, sock, home = connected()
    connection.data_received(LENGTH)
    assert sock.is_aborted
    assert home.is_lost


def test_a_lost_socket_cannot_be_written_to() -> None:
    connection, _, _ = connected()
    connection.connection_lost(None)
    response = connection.start(b"head", b"")
    assert isinstance(response.error, TransportError)
    assert response.error.sent is False


def test_a_head_over_its_limit_fails_even_if_it_comes_with_its_body() -> None:
    connection, sock, _ = connected()
    response = connection.start(b"head", b"")
    connection.data_received(
        b"HTTP/1.1 200 OK\r\n" + (b"a: " + b"b" * 90 + b"\r\n") * 6 + LENGTH[17:]
    )
    assert isinstance(response.error, TransportError)
    assert response.error.fault == "too_large"
    assert sock.is_aborted


async def test_a_body_that_outgrows_its_limit_fails_while_it_is_read() -> None:
    connection, sock, _ = connected()
    response = connection.start(b"head", b"")
    connection.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    reading = asyncio.create_task(response.read())
    await asyncio.sleep(0)
    connection.data_received(bytes(4096))
    assert not sock.is_aborted
    connection.data_received(b"x")
    with pytest.raises(TransportError) as caught:
        await reading
    assert caught.value.fault == "too_large"
    assert sock.is_aborted
