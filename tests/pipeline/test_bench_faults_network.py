"""What the faults' proxies do to bytes: nothing in fair weather, and exactly what the weather says in foul."""

from __future__ import annotations

import random
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bench.faults.proxy import Proxies
from pipeline.bench.faults.rtp_weather import FAIR, RtspStream, Weather


def packet(channel: int, payload: bytes) -> bytes:
    return b"$" + bytes([channel]) + len(payload).to_bytes(2) + payload


def rtp(number: int, stamp: int = 1000, size: int = 20) -> bytes:
    return packet(0, b"\x80\x60" + number.to_bytes(2) + stamp.to_bytes(4) + b"ssrc" + bytes(size))


ANSWER = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 6\r\n\r\nv=0\r\n$"
UNITS = st.lists(
    st.one_of(
        st.just(ANSWER),
        st.just(b"RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n"),
        st.builds(packet, st.integers(0, 1), st.binary(max_size=60)),
    )
)


def through(data: bytes, weather: Weather, cuts: list[int] | None = None) -> bytes:
    stream, out, at = RtspStream(random.Random(1)), b"", 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]:
        out += stream.feed(data[at:cut], weather)
        at = cut
    return out


@given(UNITS, st.lists(st.integers(min_value=0, max_value=10_000)))
def test_fair_weather_changes_nothing_however_the_bytes_are_cut(units: list[bytes], cuts: list[int]) -> None:
    data = b"".join(units)

    assert through(data, FAIR, cuts) == data


@given(st.binary(max_size=200))
def test_any_bytes_are_taken(data: bytes) -> None:
    assert len(through(data, Weather(drop=0.5, corrupt=0.5, garble=0.5, jump_s=5.0, clock_s=5.0))) <= len(data)


def test_dropped_packets_leave_the_others_and_the_answers_whole() -> None:
    packets = [rtp(number) for number in range(200)]

    out = through(ANSWER + b"".join(packets), Weather(drop=0.3))

    assert out.startswith(ANSWER)
    kept = [unit for unit in packets if unit in out]
    assert out == ANSWER + b"".join(kept)
    assert 100 < len(kept) < 180


def test_jump_moves_the_time_stamps_and_nothing_else() -> None:
    assert through(rtp(1, stamp=1000), Weather(jump_s=-1.0)) == rtp(1, stamp=(1000 - 90_000) % 2**32)


def test_clock_moves_the_reports_time_alone() -> None:
    report = packet(1, b"\x80\xc8\0\6ssrc" + (5000).to_bytes(4) + bytes(4) + (77).to_bytes(4) + bytes(8))
    moved = packet(1, b"\x80\xc8\0\6ssrc" + (5010).to_bytes(4) + bytes(4) + (77).to_bytes(4) + bytes(8))

    assert through(report + rtp(1), Weather(clock_s=10.0)) == moved + rtp(1)


def test_corruption_spares_the_headers() -> None:
    packets = [rtp(number) for number in range(50)]
    out = through(b"".join(packets), Weather(corrupt=1.0))

    size = len(packets[0])
    for number, unit in enumerate(packets):
        got = out[number * size : (number + 1) * size]
        assert got[:16] == unit[:16]
        assert got != unit


def test_proxy_forwards_cuts_and_forwards_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Proxies() as proxies:
        proxy = proxies.add(listener.getsockname()[1])
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            server, _ = listener.accept()
            with server:
                server.settimeout(10)
                client.sendall(b"there")
                assert server.recv(10) == b"there"
                server.sendall(b"back")
                assert client.recv(10) == b"back"
                proxy.cut()
                assert client.recv(10) == b"" if _closes(client) else True
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        proxy.mend()
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            server, _ = listener.accept()
            with server:
                client.sendall(b"again")
                assert server.recv(10) == b"again"


def _closes(client: socket.socket) -> bool:
    """Whether the connection was closed in order; False if it was reset, which is as good."""
    try:
        client.recv(1, socket.MSG_PEEK)
    except ConnectionResetError:
        return False
    return True
