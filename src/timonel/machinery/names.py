"""Rules for names, labels, ports and addresses: each returns upstream's messages, none when the text is valid.

The messages are wire format; they go into the detail of a cause (`machinery.field.invalid`).

Upstream: apimachinery/pkg/util/validation/{validation,ip}.go, apimachinery/pkg/api/validation/{name,path}.go,
apiserver/pkg/storage/names/generate.go.
"""

from __future__ import annotations

import ipaddress
import re
import secrets

LABEL_LENGTH = 63
SUBDOMAIN_LENGTH = 253
GENERATED_SUFFIX_LENGTH = 5
GENERATED_BASE_LENGTH = LABEL_LENGTH - GENERATED_SUFFIX_LENGTH
# Without vowels and look-alikes, so that no suffix is a word.
GENERATED_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_UNDERSCORE = rf"{_LABEL_UNDERSCORE}(\.{_LABEL_UNDERSCORE})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_PERCENT = "[0-9]+%"
_HEADER = "[-A-Za-z0-9]+"
_ENV = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_UNDERSCORE_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character"
)
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
    "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)
_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_C_IDENTIFIER_TEXT = (
    "a valid C identifier must start with alphabetic character or '_', "
    "followed by a string of alphanumeric characters or '_'"
)
_ENV_TEXT = (
    "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', "
    "and must not start with a digit"
)
_RELAXED_ENV_TEXT = (
    "a valid environment variable name must consist only of printable ASCII characters other than '='"
)

_is_label = re.compile(_LABEL).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch
_is_subdomain_underscore = re.compile(_SUBDOMAIN_UNDERSCORE).fullmatch
_is_wildcard = re.compile(rf"\*\.{_SUBDOMAIN}").fullmatch
_is_label_1035 = re.compile(_LABEL_1035).fullmatch
_is_qualified = re.compile(_QUALIFIED).fullmatch
_is_label_value = re.compile(_LABEL_VALUE).fullmatch
_is_c_identifier = re.compile(_C_IDENTIFIER).fullmatch
_is_percent = re.compile(_PERCENT).fullmatch
_is_header = re.compile(_HEADER).fullmatch
_is_env = re.compile(_ENV).fullmatch
_is_config_key = re.compile(_CONFIG_KEY).fullmatch
_is_http_path = re.compile(_HTTP_PATH).fullmatch
_is_port_charset = re.compile("[-a-z0-9]+").fullmatch


def max_length(length: int, unit: str = "characters") -> str:
    """Upstream counts bytes and says so only for label keys and values."""
    return f"must be no more than {length} {unit}"


def between(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def regex_message(text: str, pattern: str, *examples: str) -> str:
    if not examples:
        return f"{text} (regex used for validation is '{pattern}')"
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {listed}regex used for validation is '{pattern}')"


def _too_long(text: str, limit: int, unit: str = "characters") -> list[str]:
    # Bytes count, not characters; the encoding is only paid for when it may matter.
    if len(text) > limit or (not text.isascii() and len(text.encode("utf-8", "replace")) > limit):
        return [max_length(limit, unit)]
    return []


# ---- DNS names


def dns1123_label(text: str) -> list[str]:
    if len(text) <= LABEL_LENGTH and _is_label(text):
        return []
    found = _too_long(text, LABEL_LENGTH)
    if not _is_label(text):
        if _is_subdomain(text):
            found.append("must not contain dots")
        else:
            found.append(regex_message(_LABEL_TEXT, _LABEL, "my-name", "123-abc"))
    return found


def dns1123_subdomain(text: str, unit: str = "characters") -> list[str]:
    """`unit` is what the length is said to be counted in."""
    if len(text) <= SUBDOMAIN_LENGTH and _is_subdomain(text):
        return []
    found = _too_long(text, SUBDOMAIN_LENGTH, unit)
    if not _is_subdomain(text):
        found.append(regex_message(_SUBDOMAIN_TEXT, _SUBDOMAIN, "example.com"))
    return found


def dns1123_subdomain_with_underscore(text: str) -> list[str]:
    found = _too_long(text, SUBDOMAIN_LENGTH)
    if not _is_subdomain_underscore(text):
        found.append(regex_message(_SUBDOMAIN_UNDERSCORE_TEXT, _SUBDOMAIN_UNDERSCORE, "example.com"))
    return found


def wildcard_dns1123_subdomain(text: str) -> list[str]:
    found = _too_long(text, SUBDOMAIN_LENGTH)
    if not _is_wildcard(text):
        found.append(regex_message(_WILDCARD_TEXT, rf"\*\.{_SUBDOMAIN}", "*.example.com"))
    return found


def dns1035_label(text: str) -> list[str]:
    found = _too_long(text, LABEL_LENGTH)
    if not _is_label_1035(text):
        found.append(regex_message(_LABEL_1035_TEXT, _LABEL_1035, "my-name", "abc-123"))
    return found


# ---- labels, keys, identifiers


def qualified_name(text: str) -> list[str]:
    """A label or annotation key: a name with an optional DNS prefix."""
    if len(text) <= LABEL_LENGTH and _is_qualified(text):  # without a prefix
        return []
    parts = text.split("/")
    found: list[str] = []
    name = parts[-1]
    if len(parts) == 2:
        prefix = parts[0]
        if not prefix:
            found.append("prefix part must be non-empty")
        else:
            found += [f"prefix part {message}" for message in dns1123_subdomain(prefix, "bytes")]
    elif len(parts) > 2:
        text_ = f"a qualified name {_QUALIFIED_TEXT}"
        return [
            regex_message(text_, _QUALIFIED, "MyName", "my.name", "123-abc")
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    if not name:
        found.append("name part must be non-empty")
    else:
        found += [f"name part {message}" for message in _too_long(name, LABEL_LENGTH, "bytes")]
    if not _is_qualified(name):
        found.append(
            "name part " + regex_message(_QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc")
        )
    return found


def label_value(text: str) -> list[str]:
    if len(text) <= LABEL_LENGTH and _is_label_value(text):
        return []
    found = _too_long(text, LABEL_LENGTH, "bytes")
    if not _is_label_value(text):
        found.append(regex_message(_LABEL_VALUE_TEXT, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return found


def c_identifier(text: str) -> list[str]:
    if _is_c_identifier(text):
        return []
    return [regex_message(_C_IDENTIFIER_TEXT, _C_IDENTIFIER, "my_name", "MY_NAME", "MyName")]


def relaxed_env_var_name(text: str) -> list[str]:
    found = [] if text else ["environment variable name must be non-empty"]
    if any(not " " <= c <= "~" or c == "=" for c in text):
        found.append(_RELAXED_ENV_TEXT)
    return found


def config_map_key(text: str) -> list[str]:
    found = _too_long(text, SUBDOMAIN_LENGTH)
    if not _is_config_key(text):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        found.append(regex_message(message, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    return found + _not_a_path_step(text)


def _not_a_path_step(text: str) -> list[str]:
    if text == ".":
        return ["must not be '.'"]
    if text == "..":
        return ["must not be '..'"]
    if text.startswith(".."):
        return ["must not start with '..'"]
    return []


def http_header_name(text: str) -> list[str]:
    if _is_header(text):
        return []
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [regex_message(message, _HEADER, "X-Header-Name")]


def percent(text: str) -> list[str]:
    if _is_percent(text):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_message(message, _PERCENT, "1%", "93%")]


# ---- numbers


def port_number(number: int) -> list[str]:
    return [] if 1 <= number <= 65535 else [between(1, 65535)]


def in_range(number: int, low: int, high: int) -> list[str]:
    return [] if low <= number <= high else [between(low, high)]


def port_name(text: str) -> list[str]:
    found = _too_long(text, 15)
    if not _is_port_charset(text):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= c <= "z" for c in text):
        found.append("must contain at least one letter (a-z)")
    if "--" in text:
        found.append("must not contain consecutive hyphens")
    if text and (text[0] == "-" or text[-1] == "-"):
        found.append("must not begin or end with a hyphen")
    return found


# ---- addresses and paths

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_ip(text: str) -> IPAddress | None:
    """An address, leading zeros allowed as upstream does; None when it is none."""
    if "%" in text:
        return None
    try:
        return ipaddress.ip_address(_without_leading_zeros(text))
    except ValueError:
        return None


def parse_cidr(text: str) -> IPNetwork | None:
    """The network that a CIDR names (host bits cleared); None when it is none."""
    address, slash, length = text.partition("/")
    found = parse_ip(address)
    if not slash or found is None or not (length.isascii() and length.isdigit()) or len(length) > 3:
        return None
    if int(length) > found.max_prefixlen:
        return None
    return ipaddress.ip_network(f"{found}/{int(length)}", strict=False)


def _without_leading_zeros(text: str) -> str:
    if "." not in text or "0" not in text:
        return text
    head, colon, tail = text.rpartition(":")
    return head + colon + re.sub(r"(?<![0-9])0+(?=[0-9])", "", tail)


def ip_address(text: str) -> list[str]:
    return [] if parse_ip(text) else ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]


def cidr(text: str) -> list[str]:
    return [] if parse_cidr(text) else ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]


def domain_prefixed_path(text: str) -> list[str]:
    host, slash, path = text.partition("/")
    if not slash or not host or not path:
        return ['must be a domain-prefixed path (such as "acme.io/foo")']
    found = dns1123_subdomain(host)
    if not _is_http_path(path):
        found.append(regex_message("Invalid path", _HTTP_PATH))
    return found


# ---- metadata.name

NAME_MAY_NOT_BE = (".", "..")
NAME_MAY_NOT_CONTAIN = ("/", "%")


def path_segment_name(name: str, prefix: bool = False) -> list[str]:
    """A name that can stand in a URL path: all that is asked of RBAC roles and the like."""
    if not prefix and name in NAME_MAY_NOT_BE:
        return [f"may not be '{name}'"]
    return [f"may not contain '{part}'" for part in NAME_MAY_NOT_CONTAIN if part in name]


def _unfinished(name: str, prefix: bool) -> str:
    """A prefix may end in a dash, which the generated suffix follows."""
    return name[:-1] + "a" if prefix and len(name) > 1 and name[-1] == "-" else name


def name_is_dns_subdomain(name: str, prefix: bool = False) -> list[str]:
    return dns1123_subdomain(_unfinished(name, prefix))


def name_is_dns_label(name: str, prefix: bool = False) -> list[str]:
    return dns1123_label(_unfinished(name, prefix))


def generate_name(base: str) -> str:
    """`base`, shortened where it must be, with a random suffix."""
    number = secrets.randbits(64)  # one draw for all letters: each would be a call into the kernel
    suffix = ""
    for _ in range(GENERATED_SUFFIX_LENGTH):
        number, letter = divmod(number, len(GENERATED_ALPHABET))
        suffix += GENERATED_ALPHABET[letter]
    return base[:GENERATED_BASE_LENGTH] + suffix
