"""Ways to seal bytes, each with one key. `mark` is what a sealed value begins with; the rest is the cipher's own.

The name a value is stored under is authenticated with it where the cipher can, so that it cannot be moved to another.

    aesgcm             AES-256-GCM (also with shorter keys): nonce of 12 bytes, ciphertext and tag
    chacha20poly1305   ChaCha20-Poly1305: likewise; our own, upstream does not know it
    aescbc             AES-CBC with PKCS#7 padding: IV of 16 bytes, ciphertext; unauthenticated
    secretbox          XSalsa20-Poly1305: nonce of 24 bytes, tag and ciphertext
    identity           as it is

Upstream: apiserver/pkg/storage/value/encrypt/{aes,secretbox,identity}.
"""

from __future__ import annotations

import secrets
from typing import Any, Protocol

UPSTREAM = b"k8s:enc:"
OURS = b"timonel:enc:"
LEGACY = b"timonel:enc:aesgcm:v1:"  # before keys had names; sealed with the name without its root
NONCE, IV, TAG, LONG_NONCE = 12, 16, 16, 24


class Wrong(Exception):
    """It was not sealed with this key, or was changed since; the message is upstream's."""


class Cipher(Protocol):
    mark: bytes

    def seal(self, value: bytes, name: bytes) -> bytes:
        """What comes after the mark."""

    def open(self, data: bytes, name: bytes) -> bytes:
        """Raises Wrong."""


class Aead:
    """A cipher of `cryptography` that authenticates."""

    def __init__(self, kind: str, key_name: str, key: bytes) -> None:
        self.mark = (UPSTREAM if kind == "aesgcm" else OURS) + f"{kind}:v1:{key_name}:".encode()
        self._kind, self._key = kind, key
        self._cipher: Any = None

    @property
    def cipher(self) -> Any:
        if self._cipher is None:  # slow to import: on first use
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

            self._cipher = (AESGCM if self._kind == "aesgcm" else ChaCha20Poly1305)(self._key)
        return self._cipher

    def seal(self, value: bytes, name: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE)
        sealed: bytes = nonce + self.cipher.encrypt(nonce, value, name)
        return sealed

    def open(self, data: bytes, name: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(data) < NONCE + TAG:
            raise Wrong("the stored data was shorter than the required size")
        try:
            value: bytes = self.cipher.decrypt(data[:NONCE], data[NONCE:], name)
        except InvalidTag as error:
            raise Wrong("cipher: message authentication failed") from error
        return value


class AesCbc:
    def __init__(self, key_name: str, key: bytes) -> None:
        self.mark = UPSTREAM + f"aescbc:v1:{key_name}:".encode()
        self._key = key

    def _cipher(self, iv: bytes) -> Any:
        from cryptography.hazmat.primitives.ciphers import Cipher as Block
        from cryptography.hazmat.primitives.ciphers import algorithms, modes

        return Block(algorithms.AES(self._key), modes.CBC(iv))

    def seal(self, value: bytes, name: bytes) -> bytes:
        iv = secrets.token_bytes(IV)
        padding = 16 - len(value) % 16
        encryptor = self._cipher(iv).encryptor()
        sealed: bytes = iv + encryptor.update(value + bytes((padding,)) * padding) + encryptor.finalize()
        return sealed

    def open(self, data: bytes, name: bytes) -> bytes:
        if len(data) < IV:
            raise Wrong("the stored data was shorter than the required size")
        body = data[IV:]
        if len(body) % 16:
            raise Wrong("the stored data is not a multiple of the block size")
        decryptor = self._cipher(data[:IV]).decryptor()
        value: bytes = decryptor.update(body) + decryptor.finalize()
        padding = value[-1] if value else 0
        if not 1 <= padding <= 16 or value[-padding:] != bytes((padding,)) * padding:
            raise Wrong("invalid padding on input")
        return value[:-padding]


class SecretBox:
    """NaCl's secretbox; its stream cipher is written out below, as no library here has it."""

    def __init__(self, key_name: str, key: bytes) -> None:
        self.mark = UPSTREAM + f"secretbox:v1:{key_name}:".encode()
        self._key = key

    def seal(self, value: bytes, name: bytes) -> bytes:
        nonce = secrets.token_bytes(LONG_NONCE)
        stream = xsalsa20(self._key, nonce, 32 + len(value))
        body = _xor(value, stream[32:])
        return nonce + self._tag(stream[:32], body) + body

    def open(self, data: bytes, name: bytes) -> bytes:
        nonce, tag, body = data[:LONG_NONCE], data[LONG_NONCE : LONG_NONCE + TAG], data[LONG_NONCE + TAG :]
        if len(tag) < TAG:
            raise Wrong("the stored data was shorter than the required size")
        stream = xsalsa20(self._key, nonce, 32 + len(body))
        if not secrets.compare_digest(self._tag(stream[:32], body), tag):
            raise Wrong("output array was not large enough for encryption")  # upstream's words
        return _xor(body, stream[32:])

    @staticmethod
    def _tag(key: bytes, body: bytes) -> bytes:
        from cryptography.hazmat.primitives.poly1305 import Poly1305

        return Poly1305.generate_tag(key, body)


class Identity:
    mark = b""

    def seal(self, value: bytes, name: bytes) -> bytes:
        return value

    def open(self, data: bytes, name: bytes) -> bytes:
        if data.startswith(UPSTREAM):
            raise Wrong("identity transformer tried to read encrypted data")
        return data


# ---- XSalsa20 (D. J. Bernstein, Extending the Salsa20 nonce)

_SIGMA = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
_MASK = 0xFFFFFFFF
_QUARTERS = (
    (0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
    (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14),
)  # fmt: skip


def _rounds(state: list[int]) -> list[int]:
    x = list(state)
    for _ in range(10):
        for a, b, c, d in _QUARTERS:
            for target, left, right, turn in ((b, a, d, 7), (c, b, a, 9), (d, c, b, 13), (a, d, c, 18)):
                total = (x[left] + x[right]) & _MASK
                x[target] ^= (total << turn | total >> (32 - turn)) & _MASK
    return x


def _state(key: bytes, block: bytes) -> list[int]:
    k, b = _words(key), _words(block)
    s = _SIGMA
    return [s[0], *k[:4], s[1], *b[:4], s[2], *k[4:], s[3]]


def _words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]


def xsalsa20(key: bytes, nonce: bytes, length: int) -> bytes:
    """The first `length` bytes of the stream of a key of 32 bytes and a nonce of 24."""
    mixed = _rounds(_state(key, nonce[:16]))
    subkey = b"".join(mixed[at].to_bytes(4, "little") for at in (0, 5, 10, 15, 6, 7, 8, 9))
    stream = bytearray()
    counter = 0
    while len(stream) < length:
        state = _state(subkey, nonce[16:] + counter.to_bytes(8, "little"))
        words = zip(state, _rounds(state), strict=True)
        stream += b"".join(((a + b) & _MASK).to_bytes(4, "little") for a, b in words)
        counter += 1
    return bytes(stream[:length])


def _xor(left: bytes, right: bytes) -> bytes:
    size = len(left)
    return (int.from_bytes(left, "big") ^ int.from_bytes(right[:size], "big")).to_bytes(size, "big")
