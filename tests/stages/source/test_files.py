from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engines.types import YuvPlanes
from pipeline.clock import SystemClock
from stages.options import StreamOptions
from stages.source import Connection, Decoded, Trouble, open_connection
from stages.source.probe import probe
from stages.types import Reason
from tests.support.clock import FakeClock
from tests.support.media import make_clip, painted, read_number
from tests.support.shared import SHARED
from vedette.errors import SourceError
from vedette.secrets import SecretUrl


def options(path: Path | str, **more: Any) -> StreamOptions:
    return StreamOptions(id="film", url=SecretUrl(str(path)), **{"mode": "file", **more})


@contextmanager
def opened(path: Path | str, **more: Any) -> Iterator[Connection]:
    connection = open_connection(options(path, **more), SystemClock(), threading.Event())
    try:
        yield connection
    finally:
        connection.close()


def pictures(path: Path | str, **more: Any) -> list[Decoded]:
    with opened(path, **more) as connection:
        return [item for item in connection.pictures() if isinstance(item, Decoded)]


def numbers(items: list[Decoded]) -> list[int]:
    return [read_number(item.picture) for item in items]


@pytest.mark.parametrize(
    ("suffix", "clip"),
    [
        (".mp4", {"codec": "libx264", "b_frames": 2}),
        (".mkv", {"codec": "libx265"}),
        (".mkv", {"codec": "libx265", "pixels": "yuv420p10le"}),
        (".mov", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        (".avi", {"codec": "libx264"}),
        (".ts", {"codec": "libx264", "b_frames": 2}),
        (".mkv", {"codec": "mjpeg", "pixels": "yuvj422p", "size_wh": (854, 480)}),
    ],
)
def test_every_frame_comes_out_once_and_in_order(tmp_path: Path, suffix: str, clip: dict[str, Any]) -> None:
    items = pictures(make_clip(tmp_path / f"clip{suffix}", frames=30, **clip))
    assert numbers(items) == list(range(30))
    times = [item.pts * item.time_base for item in items if item.pts is not None]
    assert [round((time - times[0]) * 25) for time in times] == list(range(30))
    assert all(item.mono_ns <= item.decoded_ns and item.rtcp_wall_ns is None for item in items)


def test_a_file_of_a_phone_is_turned_upright(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=3)
    lying = bytearray(clip.read_bytes())
    unity = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    quarter = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    place = lying.index(unity, lying.index(b"tkhd"))
    lying[place : place + len(unity)] = quarter
    (tmp_path / "lying.mp4").write_bytes(lying)

    upright, turned = (pictures(tmp_path / name)[0].picture.planes() for name in ("clip.mp4", "lying.mp4"))

    assert turned.size_wh == upright.size_wh[::-1]
    assert isinstance(turned, YuvPlanes)
    assert isinstance(upright, YuvPlanes)
    assert np.array_equal(turned.y, np.rot90(upright.y, -1))  # clockwise, as a player shows it


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_bare_bitstream_is_counted_at_its_rate(tmp_path: Path, codec: str) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=30, codec=codec)
    kind = {"libx264": "h264", "libx265": "hevc"}[codec]
    with av.open(str(clip)) as source, av.open(str(tmp_path / f"bare.{kind}"), "w", format=kind) as bare:
        stream = bare.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                bare.mux(packet)

    items = pictures(tmp_path / f"bare.{kind}")

    assert numbers(items) == list(range(30))
    assert [item.pts for item in items] == list(range(30))
    assert {item.time_base for item in items} == {Fraction(1, 25)}


def test_file_says_what_it_is(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", metadata={"creation_time": "2026-11-20T18:00:00Z"})
    with opened(clip) as connection:
        info = connection.info
    assert (info.codec, info.size_wh, info.fps, info.finite) == ("h264", (320, 240), 25.0, True)
    assert info.duration_s == pytest.approx(2.0, abs=0.1)
    assert info.created_wall_ns == 1_795_197_600_000_000_000


def test_probe_tells_the_first_picture(tmp_path: Path) -> None:
    result = probe(options(make_clip(tmp_path / "clip.mp4")), SystemClock(), threading.Event())
    assert (result.codec, result.size_wh, result.fps) == ("h264", (320, 240), 25.0)


@pytest.mark.parametrize("url", ["file:{}", "file://{}", "{}"])
def test_all_forms_of_a_files_url_open_it(tmp_path: Path, url: str) -> None:
    clip = make_clip(tmp_path / "one two.mkv", frames=3)
    shown = str(clip).replace(" ", "%20") if "//" in url else str(clip)
    assert numbers(pictures(url.format(shown))) == [0, 1, 2]


def test_name_that_looks_like_a_protocol_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mkv", frames=3).rename(tmp_path / "concat:a|b.mkv")
    assert len(pictures("concat:a|b.mkv")) == 3


def test_nonkey_decodes_key_frames_only(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=50, gop=10)
    assert numbers(pictures(clip, decode="nonkey")) == [0, 10, 20, 30, 40]


def test_sound_and_covers_are_passed_by(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=16000, layout="mono")
        video: Any = container.add_stream("mjpeg", rate=10)
        video.width, video.height, video.pix_fmt = 160, 120, "yuvj420p"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(painted(number, (160, 120)), format="gray").reformat(format="yuvj420p")
            frame.pts = number
            container.mux(video.encode(frame))
            container.mux(sound.encode(silence(number)))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    assert numbers(pictures(path)) == list(range(10))


@pytest.mark.parametrize(
    ("make", "reason", "text"),
    [
        (lambda folder: folder / "none.mp4", Reason.NOT_FOUND, "no such file"),
        (lambda folder: folder, Reason.NOT_FOUND, "expected a file, got a folder"),
        (lambda folder: text_file(folder, b"this is no film\n" * 100), Reason.CORRUPT, "no readable video file"),
        (lambda folder: text_file(folder, b""), Reason.CORRUPT, "no readable video file"),
        (lambda folder: sound_only(folder), Reason.CODEC, "has no video, but audio"),
    ],
)
def test_file_that_cannot_be_read_fails_for_ever_with_its_reason(
    tmp_path: Path, make: Any, reason: Reason, text: str
) -> None:
    with pytest.raises(SourceError, match=text) as caught:
        pictures(make(tmp_path))
    assert (caught.value.reason, caught.value.fatal) == (reason.value, True)


def text_file(folder: Path, content: bytes) -> Path:
    path = folder / "notes.mp4"
    path.write_bytes(content)
    return path


def silence(index: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate, frame.pts = 16000, index * 1024
    return frame


def sound_only(folder: Path) -> Path:
    path = folder / "sound.mka"
    with av.open(str(path), "w", format="matroska") as container:
        sound: Any = container.add_stream("aac", rate=16000, layout="mono")
        for index in range(5):
            container.mux(sound.encode(silence(index)))
        container.mux(sound.encode(None))
    return path


def huge(path: Path) -> Path:
    """One picture, of some kilobytes, that would take 58 MB."""
    return make_clip(path, frames=1, size_wh=(8320, 4608), codec="mjpeg", pixels="yuvj420p")


def test_pictures_that_would_take_the_memory_of_others_are_refused_when_the_file_is_opened(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="its pictures are 8320x4608, expected at most 38 million pixels") as caught:
        pictures(huge(tmp_path / "huge.mkv"))
    assert (caught.value.reason, caught.value.fatal) == (Reason.CODEC.value, True)


def test_pictures_that_grow_too_large_on_the_way_are_damage_and_the_others_come(tmp_path: Path) -> None:
    small = make_clip(tmp_path / "small.mjpeg", frames=5, codec="mjpeg", pixels="yuvj420p").read_bytes()
    film = tmp_path / "film.mjpeg"
    film.write_bytes(small + huge(tmp_path / "huge.mjpeg").read_bytes() + small)
    with opened(film) as connection:
        items = list(connection.pictures())
    assert numbers([item for item in items if isinstance(item, Decoded)]) == [*range(5), *range(5)]
    assert [item.kind for item in items if isinstance(item, Trouble)] == ["damaged"]


def test_playlist_may_not_reach_out(tmp_path: Path) -> None:
    """A file that names network addresses opens none of them."""
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(SourceError):
        pictures(path)


def test_truncated_file_gives_what_is_left(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=50)
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) * 6 // 10])
    found = numbers(pictures(clip))
    assert 15 < len(found) < 50
    assert found[:15] == list(range(15))


def test_damage_inside_a_file_is_counted_and_passed_over(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=50, gop=10, codec="mjpeg", pixels="yuvj420p")
    data = bytearray(clip.read_bytes())
    for start in range(len(data) // 3, len(data) // 3 + 2000):
        data[start] = 0x55
    clip.write_bytes(bytes(data))
    with opened(clip) as connection:
        items = list(connection.pictures())
    good = [item for item in items if isinstance(item, Decoded) and not item.corrupt]
    bad = [item for item in items if isinstance(item, Trouble) or item.corrupt]
    assert bad
    assert len(good) >= 40
    assert read_number(good[-1].picture) == 49


def test_live_file_is_played_at_its_own_pace_on_the_clock_it_was_given(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=26, fps=25)
    clock = FakeClock()
    connection = open_connection(options(clip, mode="live"), clock, threading.Event())
    items = [item for item in connection.pictures() if isinstance(item, Decoded)]
    connection.close()
    assert numbers(items) == list(range(26))
    assert [round((item.mono_ns - items[0].mono_ns) / 1e6) for item in items] == [index * 40 for index in range(26)]


def test_live_file_ends_when_it_is_stopped(tmp_path: Path) -> None:
    stop = threading.Event()
    connection = open_connection(options(make_clip(tmp_path / "clip.mkv"), mode="live"), FakeClock(), stop)
    seen = 0
    for _ in connection.pictures():
        seen += 1
        if seen == 5:
            stop.set()
    connection.close()
    assert seen == 5


@pytest.mark.skipif(SHARED is None, reason="the real clips are not on this machine")
@pytest.mark.parametrize(
    ("name", "frames", "codec"),
    [
        ("intel_person-bicycle-car-detection", 459, "h264"),
        ("intel_car-detection", 377, "h264"),
        ("nvidia_retail-aisle-1080p", 603, "hevc"),
        ("intel_store-aisle-detection_preview", 67, "h264"),
    ],
)
def test_real_clips_give_all_their_frames(name: str, frames: int, codec: str) -> None:
    assert SHARED is not None
    with opened(SHARED / "clips" / f"{name}.mp4") as connection:
        assert connection.info.codec == codec
        assert sum(isinstance(item, Decoded) for item in connection.pictures()) == frames
