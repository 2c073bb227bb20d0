from __future__ import annotations

from collections.abc import Callable

import pytest

from timonel.machinery import names

Rule = Callable[[str], list[str]]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (names.dns1123_label, "a-1"),
        (names.dns1123_label, "a" * 63),
        (names.dns1123_subdomain, "a.b-c.d"),
        (names.dns1123_subdomain, "a" * 253),
        (names.wildcard_dns1123_subdomain, "*.a.b"),
        (names.dns1035_label, "a-1"),
        (names.qualified_name, "A.b_c-d"),
        (names.qualified_name, "example.com/A"),
        (names.label_value, ""),
        (names.label_value, "A.b_c-1"),
        (names.relaxed_env_var_name, "1 !\\"),
        (names.config_map_key, "A.b-_c"),
        (names.http_header_name, "X-Y"),
        (names.percent, "10%"),
        (names.port_name, "http-2"),
        (names.ip_address, "010.001.0.1"),
        (names.ip_address, "::1"),
        (names.cidr, "10.0.0.1/8"),
        (names.cidr, "fd00::/64"),
        (names.domain_prefixed_path, "acme.io/x"),
    ],
)
def test_valid_text_has_no_messages(rule: Rule, text: str) -> None:
    assert rule(text) == []


@pytest.mark.parametrize(
    ("rule", "text", "message"),
    [
        (names.dns1123_label, "a.b", "must not contain dots"),
        (names.dns1123_label, "a" * 64, "must be no more than 63 characters"),
        (
            names.dns1123_label,
            "A",
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
            "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
        (names.dns1035_label, "1a", "a DNS-1035 label must consist of lower case"),
        (names.qualified_name, "", "name part must be non-empty"),
        (names.qualified_name, "/a", "prefix part must be non-empty"),
        (names.qualified_name, "a/b/c", "a qualified name must consist of alphanumeric characters"),
        (names.label_value, "a" * 64, "must be no more than 63 bytes"),
        (names.label_value, "-a", "a valid label must be an empty string or consist of"),
        (names.relaxed_env_var_name, "a=b", "only of printable ASCII characters other than '='"),
        (names.config_map_key, "..a", "must not start with '..'"),
        (names.port_name, "a" * 16, "must be no more than 15 characters"),
        (names.port_name, "1", "must contain at least one letter (a-z)"),
        (names.port_name, "a--b", "must not contain consecutive hyphens"),
        (names.ip_address, "fe80::1%eth0", "must be a valid IP address"),
        (names.ip_address, "1.2.3", "must be a valid IP address"),
        (names.cidr, "10.0.0.0/33", "must be a valid CIDR value"),
        (names.cidr, "10.0.0.0", "must be a valid CIDR value"),
    ],
)
def test_what_is_wrong_is_said_in_upstreams_words(rule: Rule, text: str, message: str) -> None:
    assert any(message in found for found in rule(text))


def test_a_prefix_for_generated_names_may_end_in_a_dash() -> None:
    assert names.name_is_dns_subdomain("web-", True) == []
    assert names.name_is_dns_subdomain("web-", False) != []


def test_generated_names_fit_and_differ() -> None:
    found = {names.generate_name("a" * 80) for _ in range(20)}

    assert len(found) == 20
    assert all(len(name) == names.LABEL_LENGTH and names.dns1123_label(name) == [] for name in found)


@pytest.mark.parametrize(
    ("name", "message"),
    [(".", "may not be '.'"), ("a/b", "may not contain '/'"), ("a%", "may not contain '%'")],
)
def test_a_name_stands_in_a_url(name: str, message: str) -> None:
    assert names.path_segment_name(name) == [message]


@pytest.mark.parametrize(("number", "valid"), [(0, False), (1, True), (65535, True), (65536, False)])
def test_ports_have_a_range(number: int, valid: bool) -> None:
    assert (names.port_number(number) == []) is valid
