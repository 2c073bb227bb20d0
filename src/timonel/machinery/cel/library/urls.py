"""URLs: parsed as Go's ParseRequestURI does, so either absolute or an absolute path.

Upstream: apiserver/pkg/cel/library/urls.go.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member, overload
from timonel.machinery.cel.types import BOOL, STRING, list_of, map_of, opaque

URL = opaque("kubernetes.URL")
TYPES = (URL,)
_scheme = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII).match
_bad_escape = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_control = re.compile(r"[\x00-\x1f\x7f]").search
_bad_host = re.compile(r"[\s\"<>\\^`{|}]").search
_port = re.compile(r":[0-9]*", re.ASCII).fullmatch
_PATH_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~$&+,/:;=@!'()*[]%")


class URLValue:
    __slots__ = ("host", "path", "query", "scheme", "text")

    cel_type = "kubernetes.URL"

    def __init__(self, text: str, scheme: str, host: str, path: str, query: str) -> None:
        self.text = text
        self.scheme = scheme
        self.host = host
        self.path = path
        self.query = query

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URLValue) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def why_not(text: str) -> str:
    """What Go says of a text that is no request URI; empty when it is one."""
    wrong = _fault(text)
    return f'parse "{text}": {wrong}' if wrong else ""


def _fault(text: str) -> str:
    if _control(text):
        return "net/url: invalid control character in URL"
    if not text:
        return "empty url"
    found = _scheme(text)
    rest = text[found.end() :] if found else text
    if found is None and not text.startswith("/"):
        return "missing protocol scheme" if text.startswith(":") else "invalid URI for request"
    if not rest.startswith("/"):
        return "invalid URI for request" if found is None or not rest else ""
    if found is not None and rest.startswith("//"):
        return _host_fault(rest[2:].split("/", 1)[0].split("?", 1)[0])
    bad = _bad_escape(rest.partition("?")[0])
    return f'invalid URL escape "{rest[bad.start() : bad.start() + 3]}"' if bad else ""


def _host_fault(authority: str) -> str:
    host = authority.rpartition("@")[2]
    bad = _bad_host(host)
    if bad:
        return f'invalid character "{bad[0]}" in host name'
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            return "missing ']' in host"
        port = host[end + 1 :]
    else:
        port = host[host.index(":") :] if ":" in host else ""
    if port and _port(port) is None:
        return f'invalid port "{port}" after host'
    return ""


def parse(text: str) -> URLValue:
    wrong = why_not(text)
    if wrong:
        raise EvaluationError(f"URL parse error during conversion from string: {wrong}")
    found = _scheme(text)
    rest = text[found.end() :] if found else text
    before, _, query = rest.partition("?")
    host = ""
    if found is not None and before.startswith("//"):
        authority, slash, path = before[2:].partition("/")
        host = authority.rpartition("@")[2]
        before = slash + path
    return URLValue(text, found[1].lower() if found else "", host, before, query)


def _hostname(value: URLValue) -> str:
    if value.host.startswith("["):
        return value.host[1 : value.host.rfind("]")]
    return value.host.partition(":")[0]


def _port_of(value: URLValue) -> str:
    rest = value.host[value.host.rfind("]") + 1 :]
    return rest.rpartition(":")[2] if ":" in rest else ""


def _escaped_path(value: URLValue) -> str:
    return "".join(
        char if char in _PATH_SAFE else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "replace"))
        for char in value.path
    )


def _query(value: URLValue) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in value.query.split("&"):
        if not pair or ";" in pair or _bad_escape(pair):
            continue
        key, _, text = pair.partition("=")
        found.setdefault(unquote_plus(key), []).append(unquote_plus(text))
    return found


FUNCTIONS: tuple[Overload, ...] = (
    overload("string_to_url", "url", (STRING,), URL, parse),
    overload("is_url_string", "isURL", (STRING,), BOOL, lambda text: not why_not(text)),
    member("url_get_scheme", "getScheme", (URL,), STRING, lambda value: value.scheme),
    member("url_get_host", "getHost", (URL,), STRING, lambda value: value.host),
    member("url_get_host_name", "getHostname", (URL,), STRING, _hostname),
    member("url_get_port", "getPort", (URL,), STRING, _port_of),
    member("url_get_escaped_path", "getEscapedPath", (URL,), STRING, _escaped_path),
    member("url_get_query", "getQuery", (URL,), map_of(STRING, list_of(STRING)), _query),
)
