"""TLS of the API server's port: its certificate, and the authorities whose client certificates it verifies.

Those may change while the server runs: connections that begin afterwards are verified against the new ones.
"""

from __future__ import annotations

import ssl

from timonel.distro.pki import Files


class ServerTls:
    """`context` is the one to listen with; clients may show a certificate, or none (and a token instead)."""

    def __init__(self, files: Files, authorities: str) -> None:
        self._files = files
        self._current = self._made(authorities)
        self.context = self._current
        self.context.sni_callback = self._choose

    def trust(self, authorities: str) -> None:
        """PEM of all authorities from now on."""
        self._current = self._made(authorities)

    def _made(self, authorities: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._files.certificate, self._files.key)
        context.load_verify_locations(cadata=authorities)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext
    ) -> None:
        if self._current is not context:
            connection.context = self._current
