"""How a webhook is reached: rules shared by webhook configurations and conversion webhooks.

Upstream: apiserver/pkg/util/webhook/validation.go.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

_FORM = "; desired format: https://host[/path]"


def validate_url(path: str, url: str) -> Iterator[Cause]:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield field.required(path, f"url must be a valid URL: {error}{_FORM}")
        return
    if parts.scheme != "https":
        yield field.invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}")
    if not parts.netloc:
        yield field.invalid(path, parts.netloc, f"host must be specified{_FORM}")
    if parts.username is not None:
        yield field.invalid(path, parts.username, "user information is not permitted in the URL")
    if parts.fragment:
        yield field.invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield field.invalid(path, parts.query, "query parameters are not permitted in the URL")


def validate_service(path: str, service: Object) -> Iterator[Cause]:
    # upstream names the other one of the two
    for missing, named in (("namespace", "name"), ("name", "namespace")):
        if not service.get(missing):
            yield field.required(f"{path}.{named}")
    port = service.get("port", 443)
    for message in names.port_number(port):
        yield field.invalid(f"{path}.port", port, f"port is not valid: {message}")
    where = service.get("path")
    if not where:
        return
    at = f"{path}.path"
    if not where.startswith("/"):
        yield field.invalid(at, where, "must start with a '/'")
    if where == "/":
        return
    for index, step in enumerate(where[1:].removesuffix("/").split("/")):
        if not step:
            yield field.invalid(at, where, f"segment[{index}] may not be empty")
            continue
        for message in names.dns1123_subdomain(step):
            yield field.invalid(at, where, f"segment[{index}]: {message}")


_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s(.*?)-----END CERTIFICATE-----", re.DOTALL)


def validate_ca_bundle(path: str, bundle: str) -> Iterator[Cause]:
    """Certificates in PEM, in base64 as bytes are in JSON."""
    blocks = [_decoded(found) for found in _PEM.findall(_decoded(bundle.encode()))]
    if not blocks or any(block[:1] != b"\x30" for block in blocks):  # a certificate is a DER sequence
        why = "data does not contain any valid RSA or ECDSA certificates"
        yield field.invalid(path, bundle, f"unable to load root certificates: {why}")


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        return b""
