"""What a client has shown in the TLS handshake: its certificate, and the authority at the end of the verified chain.

One store verifies the certificates of all authorities that are trusted for anything. For what a certificate is good is
decided by the authority, which is not the issuer where there are intermediate ones between.
"""

from __future__ import annotations

import ssl
from typing import Any, cast


class ClientCertificate(bytes):
    """The certificate in DER form. `anchor` is that of the trusted authority; empty where TLS did not verify it anew
    (a session that is resumed)."""

    anchor: bytes = b""


def shown(tls: ssl.SSLObject) -> ClientCertificate | None:
    leaf = tls.getpeercert(binary_form=True)
    if not leaf:
        return None
    found = ClientCertificate(leaf)
    chain = _verified(tls)
    found.anchor = chain[-1] if chain else b""
    return found


def _verified(tls: ssl.SSLObject) -> list[bytes]:
    """Public since Python 3.13; older versions have it on the object within."""
    if hasattr(tls, "get_verified_chain"):
        return list(tls.get_verified_chain() or ())
    within = cast(Any, tls)._sslobj
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in within.get_verified_chain() or ()]
