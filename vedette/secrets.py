"""Passwords stay inside: the URL type that shows itself masked, and the scrubber for texts of other libraries.

`str()`, `repr()` and formatting of a `SecretUrl` never show the password; only `reveal()` does, and it is called
where a connection is opened and nowhere else. Imports nothing of ours; every room may import it.
"""

from __future__ import annotations

import contextlib
import re
from urllib.parse import unquote, urlsplit

MASK = "***"

# user:password@ in anything that looks like a URL. The password may hold '@' and ':' (people forget to quote it),
# so the match is greedy up to the last '@' before a space, quote or end of the authority. One slash is enough: a URL
# that was taken for a path has lost the other.
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://?)(?P<userinfo>[^\s'\"<>/]*)@")
# The same with a '/' inside an unquoted password: user:pass/word@host
_USERINFO_SLASH = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://?)(?P<userinfo>[^\s'\"<>/@:]*:[^\s'\"<>@]*)@")
# Parameters that carry credentials in HTTP camera URLs: ?user=a&password=b, &token=...
_QUERY_KEY = r"(?i)(?P<key>[?&;](?:password|passwd|pass|pwd|token|auth|key|secret|api_?key)=)"
# What is masked already is left as it is, so that the `): ` behind a URL in a sentence is not taken for a part of it.
_QUERY = re.compile(rf"{_QUERY_KEY}(?!\*\*\*(?:$|[\s)\],:]))(?P<value>[^&\s'\"#;]+)")

# The same for a text that is one URL and nothing else: there, a space or a quote is part of it.
_WHOLE_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://?")
_WHOLE_USERINFO = (re.compile(r"[^/@:]*:[^@]*@"), re.compile(r"[^/]*@"))  # one after the other, as in `scrub`
_WHOLE_QUERY = re.compile(rf"{_QUERY_KEY}(?P<value>[^&#;]+)")

# user:password@host without a scheme, as somebody may write it. Only whole texts: inside one it may be anything.
_BARE = re.compile(r"^(?P<user>[^\s/@:]+):(?P<password>.*)@")


def scrub(text: str, *urls: SecretUrl) -> str:
    """Return `text` with the credentials of any URL in it masked, and every secret part of `urls` too."""
    for url in urls:
        for secret in url.secrets():
            text = text.replace(secret, MASK)
    text = _USERINFO_SLASH.sub(rf"\g<scheme>{MASK}@", text)
    text = _USERINFO.sub(rf"\g<scheme>{MASK}@", text)
    return _QUERY.sub(rf"\g<key>{MASK}", text)


class SecretUrl:
    """A URL whose password no `str`, `repr`, log line or error text shows."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    def reveal(self) -> str:
        """The URL as it was given, password included: for opening a connection, never for showing."""
        return self._url

    def secrets(self) -> tuple[str, ...]:
        """Password and tokens in the forms in which another library may print them, longest first."""
        found = {match["value"] for match in _WHOLE_QUERY.finditer(self._url)}
        with contextlib.suppress(ValueError):
            found.add(urlsplit(self._url).password or "")
        begin, end = self._userinfo()
        found.add(self._url[begin : max(begin, end - 1)].partition(":")[2])
        bare = self._bare()
        if bare is not None:
            found.add(bare["password"])
        forms = {form for word in found if word for form in (word, unquote(word))}
        return tuple(sorted(forms, key=lambda form: (-len(form), form)))

    @property
    def scheme(self) -> str:
        """The scheme in lower case, or '' for a plain path."""
        head, separator, _ = self._url.partition("://")
        if separator:
            return head.lower()
        head, separator, _ = self._url.partition(":")
        return "file" if separator and head.lower() == "file" else ""

    @property
    def has_password(self) -> bool:
        return bool(self.secrets()) or str(self) != self._url

    @property
    def lacks_scheme(self) -> bool:
        """Whether this is user:password@host: a URL of whose beginning somebody did not think."""
        return self._bare() is not None

    def _userinfo(self) -> tuple[int, int]:
        """Where `user:password@` begins and ends, which is nowhere if it ends where it begins."""
        scheme = _WHOLE_SCHEME.match(self._url)
        if scheme is None:
            return 0, 0
        end = scheme.end()
        for pattern in _WHOLE_USERINFO:
            found = pattern.match(self._url, end)
            end = end if found is None else found.end()
        return scheme.end(), end

    def _bare(self) -> re.Match[str] | None:
        return None if "://" in self._url or self.scheme == "file" else _BARE.match(self._url)

    def __str__(self) -> str:
        bare = self._bare()
        if bare is not None:
            return f"{MASK}@{self._url[bare.end() :]}"
        begin, end = self._userinfo()
        text = self._url if begin == end else f"{self._url[:begin]}{MASK}@{self._url[end:]}"
        return scrub(_WHOLE_QUERY.sub(rf"\g<key>{MASK}", text))

    def __repr__(self) -> str:
        return f"SecretUrl({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)


class Secret:
    """A word that no `str`, `repr` or log line shows, such as a token."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The word itself, for comparing and sending."""
        return self._text

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)
