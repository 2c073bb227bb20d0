"""What is wrong with a server's certificate, in the words of Go's client, which name what is in it.

OpenSSL only says which check has failed; the certificate is asked for once more, for these words alone.

Upstream: Go's crypto/x509/verify.go (HostnameError, CertificateInvalidError).
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl

from cryptography import x509

from timonel.objects.meta import format_time

EXPIRED = "certificate has expired or is not yet valid"
PATIENCE = 2.0  # seconds, for words


async def of_server(host: str, port: int, server_name: str) -> bytes | None:
    """The certificate that a server shows, verified by nobody: good for nothing but reading it out."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=server_name)
    except (OSError, TimeoutError, ValueError):
        return None
    try:
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    return found


def expired(der: bytes, now: float) -> str:
    """With the time that decides, where it is this certificate and none above it."""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return EXPIRED
    begins, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    current = f"{EXPIRED}: current time {format_time(now)} is"
    if now > ends:
        return f"{current} after {format_time(ends)}"
    return f"{current} before {format_time(begins)}" if now < begins else EXPIRED


def wrong_name(der: bytes, wanted: str) -> str:
    """For whom the certificate is instead."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "certificate relies on legacy Common Name field, use SANs instead"
    except ValueError:
        return f"certificate is not valid for any names, but wanted to match {wanted}"
    if _is_address(wanted):
        good = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
        if not good:
            return f"cannot validate certificate for {wanted} because it doesn't contain any IP SANs"
    else:
        good = names.get_values_for_type(x509.DNSName)
    if not good:
        return f"certificate is not valid for any names, but wanted to match {wanted}"
    return f"certificate is valid for {', '.join(good)}, not {wanted}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
