"""Files that are not what they should be: each stream says so, the others go on, the process ends with 3."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.media import make_clip
from tests.support.redis_server import RedisServer
from tests.support.site import Site, assert_once_and_in_order, assert_whole

pytestmark = pytest.mark.system


def test_broken_and_missing_files_fail_and_the_good_one_is_whole(tmp_path: Path, redis_server: RedisServer) -> None:
    good = make_clip(tmp_path / "good.mkv", frames=20)
    (tmp_path / "cut.mkv").write_bytes(good.read_bytes()[: good.stat().st_size * 6 // 10])
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    site = Site(tmp_path, redis_server)
    names = {"good": "good.mkv", "cut": "cut.mkv", "noise": "noise.mp4", "missing": "nowhere.mkv"}

    run = site.run(*({"id": name, "url": file, "mode": "file"} for name, file in names.items()))
    with run:
        assert run.wait() == 3, run.log

    events = site.events()
    assert_once_and_in_order(events.all())
    run.check(events)
    assert run.summary["failed"] == {"noise": "corrupt", "missing": "not_found"}
    assert events.changes("noise") == ["connecting", "failed(corrupt)"]
    assert events.changes("missing") == ["connecting", "failed(not_found)"]
    assert events.changes("good") == ["connecting", "streaming", "ended(eof)"]
    assert events.changes("cut") == ["connecting", "streaming", "ended(eof)"], "what is there of it is analysed"
    good_frames, cut_frames = site.frames("good").all(), site.frames("cut").all()
    assert len(good_frames) == run.stream("good")["published"] == 20
    assert 0 < len(cut_frames) == run.stream("cut")["published"] < 20
    assert_whole(good_frames)
    assert_whole(cut_frames)
    assert [frame.objects for frame in cut_frames[:5]] == [frame.objects for frame in good_frames[:5]]
