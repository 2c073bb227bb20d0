from __future__ import annotations

import pytest

from timonel.dns.settings import Upstream, forwarding

DEFAULT = (Upstream("9.9.9.9"),)


def test_without_settings_the_machines_resolvers_are_asked() -> None:
    found, problems = forwarding({}, DEFAULT)

    assert (found.upstreams, problems) == (DEFAULT, [])


def test_the_longest_stub_domain_is_asked() -> None:
    text = '{"example": ["10.0.0.1"], "corp.example.": ["10.0.0.2:5353", "fd00::1", "[fd00::2]:54"]}'
    found, problems = forwarding({"stubDomains": text, "upstreamNameservers": '["1.1.1.1"]'}, DEFAULT)

    assert problems == []
    assert found.servers("a.corp.example")[0] == Upstream("10.0.0.2", 5353)
    assert found.servers("corp.example")[1:] == (Upstream("fd00::1"), Upstream("fd00::2", 54))
    assert found.servers("notcorp.example") == (Upstream("10.0.0.1"),)
    assert found.servers("example.org") == (Upstream("1.1.1.1"),)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"stubDomains": "{"}, "stubDomains: "),
        ({"stubDomains": "[]"}, "stubDomains: expected an object"),
        ({"stubDomains": '{"a": "1.1.1.1"}'}, "stubDomains[a]: expected a list"),
        ({"upstreamNameservers": '["one"]'}, "'one' is not an address"),
        ({"upstreamNameservers": '["1.1.1.1:99999"]'}, "is not an address"),
        ({"upstreamNameservers": "[7]"}, "7 is not an address"),
        ({"upstreamNameservers": '["10.96.0.10"]'}, "this server itself"),
    ],
)
def test_what_cannot_be_read_is_told_and_left_out(data: dict[str, str], problem: str) -> None:
    found, problems = forwarding(data, DEFAULT, own=["10.96.0.10"])

    assert problem in problems[0]
    assert (found.upstreams, found.stubs) == (DEFAULT, ())
