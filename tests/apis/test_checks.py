from __future__ import annotations

import pytest

from timonel.apis import checks, resources


def messages(found: object) -> list[str]:
    return [cause.message.partition(": ")[2].partition(": ")[2] for cause in found]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1", []),
        ("2001:db8::1", []),
        ("010.0.0.1", ["must not have leading 0s"]),
        ("::ffff:1.2.3.4", ["must not be an IPv4-mapped IPv6 address"]),
        ("fe80::1%eth0", [checks.BAD_IP]),
        ("1.2.3", [checks.BAD_IP]),
        ("", [checks.BAD_IP]),
    ],
)
def test_addresses(text: str, said: list[str]) -> None:
    assert messages(checks.ip("a", text)) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.0/8", []),
        ("2001:db8::/32", []),
        ("10.0.0.1/8", ["must not have bits set beyond the prefix length"]),
        ("010.0.0.0/8", ["must not have leading 0s"]),
        ("10.0.0.0", [checks.BAD_CIDR]),
        ("10.0.0.0/255.0.0.0", [checks.BAD_CIDR]),
        ("10.0.0.0/33", [checks.BAD_CIDR]),
    ],
)
def test_ranges(text: str, said: list[str]) -> None:
    assert messages(checks.cidr("a", text)) == said


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("0.0.0.0", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("169.254.1.1", "link-local"),
        ("224.0.0.5", "multicast"),
    ],
)
def test_addresses_that_mean_something_everywhere(text: str, word: str) -> None:
    (cause,) = checks.not_special_ip("a", text)
    assert word in cause.message


@pytest.mark.parametrize(
    ("name", "container", "quota"),
    [
        ("cpu", True, True),
        ("pods", False, True),
        ("hugepages-2Mi", True, True),
        ("example.com/gpu", True, True),
        ("requests.example.com/gpu", False, True),
        ("kubernetes.io/odd", True, True),
        ("odd", False, False),
    ],
)
def test_names_of_resources(name: str, container: bool, quota: bool) -> None:
    assert (not list(resources.validate_container_name("a", name))) is container
    assert (not list(resources.validate_quota_name("a", name))) is quota


@pytest.mark.parametrize(
    ("name", "amount", "fine"), [("pods", "2", True), ("pods", "1500m", False), ("cpu", "1500m", True)]
)
def test_counted_resources_are_whole(name: str, amount: str, fine: bool) -> None:
    assert (not list(checks.resource_quantity("a", name, amount))) is fine
