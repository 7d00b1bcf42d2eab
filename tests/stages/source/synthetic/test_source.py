import threading
from fractions import Fraction

import pytest

from stages.options import StreamOptions
from stages.source import open_connection
from stages.source.connection import Connection, Decoded
from tests.support.clock import FakeClock
from vedette.errors import SourceError
from vedette.secrets import SecretUrl

URL = "synthetic://street?people=2&vehicles=1&bikes=0&size=128x72&fps=10"


def opened(query: str, clock: FakeClock, stop: threading.Event, **options: object) -> Connection:
    stream = StreamOptions(id="cam", url=SecretUrl(URL + query), **options)  # type: ignore[arg-type]
    return open_connection(stream, clock, stop)


def test_a_file_like_camera_gives_every_frame_and_ends() -> None:
    clock = FakeClock()
    began = clock.mono_ns()
    camera = opened("&seconds=2", clock, threading.Event(), mode="file")
    items = list(camera.pictures())
    camera.close()
    assert [item.pts for item in items if isinstance(item, Decoded)] == list(range(20))
    assert {item.time_base for item in items if isinstance(item, Decoded)} == {Fraction(1, 10)}
    assert clock.mono_ns() == began
    assert camera.info.finite
    assert camera.info.duration_s == 2.0
    assert camera.info.size_wh == (128, 72)


def test_a_live_camera_keeps_its_pace() -> None:
    clock = FakeClock()
    began = clock.mono_ns()
    camera = opened("&seconds=1", clock, threading.Event())
    items = [item for item in camera.pictures() if isinstance(item, Decoded)]
    assert [item.pts for item in items] == list(range(10))
    assert [item.mono_ns - began for item in items] == [number * 100_000_000 for number in range(10)]


def test_a_live_camera_skips_what_it_is_too_late_for() -> None:
    clock = FakeClock()
    camera = opened("", clock, threading.Event())
    pictures = camera.pictures()
    assert not camera.info.finite
    numbers = []
    for held_up in (0.0, 0.0, 0.75, 0.0, 3.0, 0.0):
        item = next(pictures)
        assert isinstance(item, Decoded)
        numbers.append(item.pts)
        clock.advance(held_up)
    assert numbers == [0, 1, 2, 9, 10, 40]


def test_a_skipped_frame_looks_as_if_none_had_been_skipped() -> None:
    every = opened("&seconds=5", FakeClock(), threading.Event(), mode="file").pictures()
    wanted = [item for item in every if isinstance(item, Decoded)][40]
    clock = FakeClock()
    pictures = opened("", clock, threading.Event()).pictures()
    next(pictures)
    clock.advance(4.0)
    late = next(pictures)
    assert isinstance(late, Decoded)
    assert late.pts == 40
    planes, expected = late.picture.planes(), wanted.picture.planes()
    assert (planes.y == expected.y).all()  # type: ignore[union-attr]


def test_a_stop_ends_it() -> None:
    stop = threading.Event()
    pictures = opened("", FakeClock(), stop).pictures()
    next(pictures)
    stop.set()
    assert next(pictures, None) is None


def test_a_wrong_url_fails_for_ever() -> None:
    stream = StreamOptions(id="cam", url=SecretUrl("synthetic://street?peple=1"))
    with pytest.raises(SourceError, match="did you mean 'people'") as caught:
        open_connection(stream, FakeClock(), threading.Event())
    assert caught.value.fatal
