import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.source.synthetic.options import SyntheticOptions, parse_synthetic
from vedette.errors import ConfigError


def test_a_bare_street_has_the_defaults() -> None:
    assert parse_synthetic("synthetic://street") == SyntheticOptions()


def test_every_parameter_is_read() -> None:
    url = (
        "synthetic://street?people=3&vehicles=2&bikes=0&parked=0&seed=9&size=320x240&fps=12.5&seconds=4&noise=0&night=1"
    )
    assert parse_synthetic(url) == SyntheticOptions(
        people=3,
        vehicles=2,
        bikes=0,
        parked=0,
        seed=9,
        size_wh=(320, 240),
        fps=12.5,
        seconds=4.0,
        noise=0.0,
        time="night",
    )


def test_seconds_become_frames() -> None:
    assert parse_synthetic("synthetic://street?seconds=2&fps=12.5").frames == 25
    assert parse_synthetic("synthetic://street").frames is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("synthetic://beach", "expected the scene to be 'street', got 'beach'"),
        ("synthetic://street?peoples=3", "unknown parameter 'peoples'; did you mean 'people'?"),
        ("synthetic://street?zzz=3", "unknown parameter 'zzz'; known are people, vehicles,"),
        ("synthetic://street?people=-1", "people: expected a whole number from 0 to 60, got '-1'"),
        ("synthetic://street?people=61", "people: expected a whole number from 0 to 60, got '61'"),
        ("synthetic://street?people=", "people: expected a whole number from 0 to 60, got ''"),
        ("synthetic://street?people=\u0663", "people: expected a whole number from 0 to 60"),
        ("synthetic://street?size=640", "size: expected WIDTHxHEIGHT, both even, from 64 to 3840, such as 640x360"),
        ("synthetic://street?size=641x360", "size: expected WIDTHxHEIGHT, both even"),
        ("synthetic://street?size=9999x9998", "size: expected WIDTHxHEIGHT, both even"),
        ("synthetic://street?fps=0", "fps: expected a number from 0.01 to 120, got '0'"),
        ("synthetic://street?fps=nan", "fps: expected a number from 0.01 to 120, got 'nan'"),
        ("synthetic://street?seconds=1e9", "seconds: expected a number above 0"),
        ("synthetic://street?time=dawn", "time: expected day or night, got 'dawn'"),
        ("synthetic://street?night=yes", "night: expected 0 or 1, got 'yes'"),
        ("synthetic://street?noise=6", "noise: expected a number from 0 to 5, got '6'"),
        ("synthetic://street?people=1&people=2", "people: expected once"),
        ("synthetic://street?night=1&time=day", "time: expected once"),
        ("synthetic://street#x", "expected nothing after '#'"),
        ("rtsp://street", "got scheme 'rtsp'"),
        ("synthetic://[street", "expected a URL such as synthetic://street"),
    ],
)
def test_a_wrong_url_is_one_clear_line(url: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_synthetic(url)
    assert len(caught.value.problems) == 1
    assert says in caught.value.problems[0]
    assert "\n" not in caught.value.problems[0]


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_synthetic("synthetic://beach?peple=3&fps=-1")
    assert len(caught.value.problems) == 3


def test_the_package_brings_no_opencv() -> None:
    code = "import sys, stages.source.synthetic.options as o; assert 'cv2' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.text(max_size=40), st.text(max_size=20))
def test_no_query_is_anything_but_options_or_a_config_error(key: str, value: str) -> None:
    for url in (f"synthetic://street?{key}={value}", f"synthetic://{key}", f"synthetic://street?people={value}"):
        try:
            options = parse_synthetic(url)
        except ConfigError:
            continue
        assert 0 <= options.people <= 60
