"""What is stored, sealed and opened as the configuration says; a `Sealer` does it for one resource.

A value that cannot be opened is an error of that object alone. A value under a key that is not known makes the vault
look at its configuration again, once: another server may have begun to use a new key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from timonel.machinery import errors
from timonel.server import layout
from timonel.server.atrest.ciphers import LEGACY, OURS, UPSTREAM, Aead, Cipher, Identity, Wrong
from timonel.server.atrest.configuration import Configuration, Misconfigured, cipher_of

logger = logging.getLogger(__name__)

MARK_PARTS = 5  # k8s:enc:PROVIDER:v1:KEY
NO_MATCH = "no matching prefix found"
NO_KEY = {
    b"k8s:enc:aesgcm:v1:": "no matching key was found for the provided AES transformer",
    b"k8s:enc:aescbc:v1:": "no matching key was found for the provided AES transformer",
    b"k8s:enc:secretbox:v1:": "no matching key was found for the provided Secretbox transformer",
}


class Unreadable(errors.InternalError):
    """An object that no key opens."""

    def __init__(self, key: str, why: str) -> None:
        text = f'unable to transform key "{key}": {why}'
        super().__init__(f"Internal error occurred: {text}", causes=(errors.Cause("", text),))
        self.key, self.why = key, why

    def again(self) -> Unreadable:
        """To be raised anew, without the traces of the first time."""
        return Unreadable(self.key, self.why)


class Vault:
    """`reread` gives the configuration as it is now, where it can change."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        root: str = layout.ROOT,
        reread: Callable[[], Configuration] | None = None,
    ) -> None:
        self.configuration = configuration
        self._reread = reread
        self.root = root
        self._sealers: list[Sealer] = []
        self._missing: set[bytes] = set()  # marks for which looking again was in vain

    def sealer(self, plural: str, group: str) -> Sealer:
        sealer = Sealer(self, plural, group)
        sealer.use(self.configuration)
        self._sealers.append(sealer)
        return sealer

    def reload(self) -> bool:
        """Whether it has changed. Raises Misconfigured, OSError, and keeps what it had."""
        found = self._reread() if self._reread is not None else self.configuration
        if found == self.configuration:
            return False
        self.configuration = found
        self._missing.clear()
        for sealer in self._sealers:
            sealer.use(found)
        return True

    def looked_again(self, value: bytes) -> bool:
        """Whether there are other keys now; asked once for each key that is missing, however many objects need it."""
        mark = b":".join(value[:300].split(b":", MARK_PARTS)[:MARK_PARTS])
        if mark in self._missing:
            return False
        try:
            changed = self.reload()
        except (Misconfigured, OSError) as error:  # the one that works is kept
            logger.warning("The encryption configuration cannot be used", extra={"error": str(error)})
            changed = False
        self._missing.add(mark)
        return changed


class Sealer:
    """Of one resource."""

    def __init__(self, vault: Vault, plural: str, group: str) -> None:
        self._vault, self._plural, self._group = vault, plural, group
        self._ciphers: Sequence[Cipher] = ()

    def use(self, configuration: Configuration) -> None:
        rule = configuration.rule_of(self._plural, self._group)
        self._ciphers = [cipher_of(key) for key in rule.keys] if rule is not None else (Identity(),)

    @property
    def encrypts(self) -> bool:
        """Whether something is done to what is written."""
        return bool(self._ciphers[0].mark)

    def sealed(self, key: str, value: bytes) -> bytes:
        cipher = self._ciphers[0]
        return cipher.mark + cipher.seal(value, self._name(key)) if cipher.mark else value

    def is_current(self, value: bytes) -> bool:
        """Whether it is sealed as it would be now."""
        mark = self._ciphers[0].mark
        return value.startswith(mark) if mark else not value.startswith((UPSTREAM, OURS))

    def opened(self, key: str, value: bytes) -> bytes:
        """Raises Unreadable."""
        if not value.startswith((UPSTREAM, OURS)):
            return value
        try:
            return self._opened(key, value)
        except Wrong as error:
            failure = error
        try:
            if self._vault.looked_again(value):
                return self._opened(key, value)
        except Wrong as error:
            failure = error
        raise Unreadable(f"{self._vault.root}{key}", str(failure)) from failure

    def _opened(self, key: str, value: bytes) -> bytes:
        failure: Wrong | None = None
        for cipher in self._ciphers:
            if cipher.mark and value.startswith(cipher.mark):
                try:
                    return cipher.open(value[len(cipher.mark) :], self._name(key))
                except Wrong as error:
                    failure = error
            elif value.startswith(LEGACY) and isinstance(cipher, Aead):
                try:
                    return cipher.open(value[len(LEGACY) :], key.encode())
                except Wrong as error:
                    failure = failure or error
        raise failure or Wrong(self._why_not(value))

    def _why_not(self, value: bytes) -> str:
        known = [text for mark, text in NO_KEY.items() if value.startswith(mark) and self._has_kind(mark)]
        return known[0] if known else NO_MATCH

    def _has_kind(self, mark: bytes) -> bool:
        return any(cipher.mark.startswith(mark) for cipher in self._ciphers)

    def _name(self, key: str) -> bytes:
        return f"{self._vault.root}{key}".encode()
