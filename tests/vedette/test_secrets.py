"""Passwords are masked in whatever text a URL stands, and in what is left of it when it was not quoted."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vedette.secrets import Secret, SecretUrl, scrub

# Each is hidden whole; what is around it stays.
TEXTS = [
    ("rtsp://user:hunter2@cam:554/x", "rtsp://***@cam:554/x"),
    ("cannot open rtsp://user:p@ss:w@cam/x: refused", "cannot open rtsp://***@cam/x: refused"),
    ("redis://:hunter2@h/0 and rtsp://u:hunter2@h/1", "redis://***@h/0 and rtsp://***@h/1"),
    ("rtsp://user:hunter/2@cam/x", "rtsp://***@cam/x"),
    ("rtsp://user@cam/x", "rtsp://***@cam/x"),
    ("rtsp:/user:p@ss:w@cam/x: no such file", "rtsp:/***@cam/x: no such file"),
    ("http://cam/v?user=a&password=hunter2&q=1", "http://cam/v?user=a&password=***&q=1"),
    ("stream a (http://cam/v?token=hunter2)", "stream a (http://cam/v?token=***"),
    ("stream a (http://cam/v?token=***): connecting", "stream a (http://cam/v?token=***): connecting"),
    ("http://cam/v?token=*** is not there", "http://cam/v?token=*** is not there"),
    ("http://cam/v?token=***hunter2", "http://cam/v?token=***"),
    ("rtsp://cam/x and no more", "rtsp://cam/x and no more"),
]


@pytest.mark.parametrize(("text", "masked"), TEXTS)
def test_credentials_are_masked_and_the_rest_stays(text: str, masked: str) -> None:
    assert scrub(text) == masked
    assert scrub(masked) == masked


def test_a_url_shows_its_password_only_when_it_is_revealed() -> None:
    url = SecretUrl("rtsp://user:p%40ss%2F@cam/x")

    assert f"{url} {url!r}" == "rtsp://***@cam/x SecretUrl('rtsp://***@cam/x')"
    assert url.reveal() == "rtsp://user:p%40ss%2F@cam/x"
    assert set(url.secrets()) == {"p%40ss%2F", "p@ss/"}
    assert scrub("they say p@ss/ or p%40ss%2F", url) == "they say *** or ***"


# Where an unquoted password holds an @ and behind it a /, nobody can say where the host begins.
@given(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/"), min_size=1)
    | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="@"), min_size=1)
)
@example("pa'Zq9x")
@example('pa"Zq9x')
@example("wr0ng PW9")
@example("a<b>c")
@example("p/a@b:c d")
def test_a_password_of_any_characters_is_hidden_whole(password: str) -> None:
    url = SecretUrl(f"redis://user:{password}@cam:6379/0")

    assert str(url) == "redis://***@cam:6379/0"
    assert repr(url) == "SecretUrl('redis://***@cam:6379/0')"
    assert f"user:{password}@" not in scrub(f"refused: redis://user:{password}@cam:6379/0", url)
    assert password in url.secrets()


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="&#;@/:"), min_size=1))
@example("pa'Zq9x")
@example("*** x")
def test_a_token_of_any_characters_is_hidden_whole(token: str) -> None:
    assert str(SecretUrl(f"http://cam/x?user=a&pwd={token}&q=1")) == "http://cam/x?user=a&pwd=***&q=1"


@pytest.mark.parametrize("text", ["user:p@ss/word@cam/x", "rtsp:user:hunter2@cam/x"])
def test_a_url_without_its_scheme_is_masked_all_the_same(text: str) -> None:
    url = SecretUrl(text)

    assert str(url) == "***@cam/x"
    assert url.lacks_scheme
    assert url.has_password


@pytest.mark.parametrize("path", ["clips/a:b@c.mp4", "file:a:b@c.mp4", "/srv/a@b.mp4", "rtsp://cam/x"])
def test_a_path_may_hold_any_character(path: str) -> None:
    assert not SecretUrl(path).lacks_scheme
    assert str(SecretUrl(path)) == path


def test_tokens_in_a_query_are_secrets_too() -> None:
    url = SecretUrl("http://user:one@cam/v?size=2&token=t%2Fwo&pwd=three")

    assert set(url.secrets()) == {"one", "t%2Fwo", "t/wo", "three"}
    assert SecretUrl("http://cam/v?size=2").secrets() == ()


def test_a_word_shows_itself_only_when_it_is_revealed() -> None:
    token = Secret("hunter2")

    assert f"{token} {token!r}" == "*** Secret('***')"
    assert token.reveal() == "hunter2"
