"""Secrets are kept encrypted: AES-256-GCM, bound to the key they are stored under.

The storage key is authenticated with the data, so a value cannot be moved to another name. Values that are not sealed
(written before there was a key) are read as they are.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MARK = b"timonel:enc:aesgcm:v1:"
NONCE = 12


class Vault:
    """`key` is 32 random bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher: AESGCM | None = None

    @property
    def cipher(self) -> AESGCM:
        if self._cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # slow to import: on first use

            self._cipher = AESGCM(self._key)
        return self._cipher

    def sealed(self, key: str, value: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE)
        return MARK + nonce + self.cipher.encrypt(nonce, value, key.encode())

    def opened(self, key: str, value: bytes) -> bytes:
        """Raises cryptography's InvalidTag where the value was tampered with or the key is another one."""
        if not value.startswith(MARK):
            return value
        start = len(MARK)
        nonce = value[start : start + NONCE]
        return self.cipher.decrypt(nonce, value[start + NONCE :], key.encode())
