"""Signed JSON web tokens (ES256, ES384, ES512, RS256) with the keys of one issuer, and its discovery documents.

Upstream: pkg/serviceaccount/{jwt,openidmetadata}.go.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import orjson
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
Claims = dict[str, Any]

# by curve: the algorithm's name, its hash, the bytes of one number of a signature
_CURVES: dict[str, tuple[str, type[hashes.HashAlgorithm], int]] = {
    "secp256r1": ("ES256", hashes.SHA256, 32),
    "secp384r1": ("ES384", hashes.SHA384, 48),
    "secp521r1": ("ES512", hashes.SHA512, 66),
}

_UNUSABLE = "a service account key must be an RSA key or one on the curves P-256, P-384 or P-521"
_ENCODED = re.compile(r"[A-Za-z0-9_-]*")
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----([\s\S]*?)-----END \1-----")


class Malformed(ValueError):
    """Not a token of this issuer, or not signed by one of its keys."""


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def load_private_key(pem: bytes) -> PrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if isinstance(key, rsa.RSAPrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES
    ):
        return key
    raise ValueError(_UNUSABLE)


def load_public_keys(pem: bytes) -> list[PublicKey]:
    """The keys of a --service-account-key-file: public ones, private ones (for theirs) and certificates."""
    found: list[PublicKey] = []
    for kind, block in _BLOCK.findall(pem):
        text = b"-----BEGIN %b-----%b-----END %b-----\n" % (kind, block, kind)
        if kind.endswith(b"PRIVATE KEY"):
            key: Any = load_private_key(text).public_key()
        elif kind == b"CERTIFICATE":
            key = x509.load_pem_x509_certificate(text).public_key()
        elif kind.endswith(b"PUBLIC KEY"):
            key = serialization.load_pem_public_key(text)
        else:
            continue  # parameters of a curve
        if not isinstance(key, rsa.RSAPublicKey) and not (
            isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES
        ):
            raise ValueError(_UNUSABLE)
        found.append(key)
    if not found:
        raise ValueError("data does not contain any valid RSA or ECDSA public keys")
    return found


class Keys:
    """Signs with the first key, accepts tokens of all of them (so that keys can be rotated)."""

    def __init__(self, private: PrivateKey, others: Sequence[PublicKey] = ()) -> None:
        self.private = private
        self._public: dict[str, PublicKey] = {_key_id(k): k for k in (private.public_key(), *others)}
        self._header = _encode(
            orjson.dumps({"alg": _algorithm(private.public_key()), "kid": _key_id(private.public_key())})
        )

    def sign(self, claims: Claims) -> str:
        body = f"{self._header}.{_encode(orjson.dumps(claims))}"
        return f"{body}.{_encode(self._signature(body.encode()))}"

    def verify(self, token: str) -> Claims:
        """The claims of a token signed by one of these keys; raises Malformed."""
        head, claims, signature = _split(token)
        key_id = head.get("kid")
        known = self._public.get(key_id) if isinstance(key_id, str) else None
        candidates = [known] if known is not None else list(self._public.values())
        body = token.rpartition(".")[0].encode()
        for key in candidates:
            if head.get("alg") == _algorithm(key) and _is_signed(key, body, signature):
                return claims
        raise Malformed("no key of ours signed this token")

    def jwks(self) -> dict[str, Any]:
        return {"keys": [_jwk(key_id, key) for key_id, key in self._public.items()]}

    def algorithms(self) -> list[str]:
        return sorted({_algorithm(key) for key in self._public.values()})

    def _signature(self, body: bytes) -> bytes:
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(body, padding.PKCS1v15(), hashes.SHA256())
        _, digest, length = _CURVES[self.private.curve.name]
        r, s = decode_dss_signature(self.private.sign(body, ec.ECDSA(digest())))
        return r.to_bytes(length, "big") + s.to_bytes(length, "big")


def peek(token: str) -> Claims:
    """The claims without looking at the signature; raises Malformed."""
    return _split(token)[1]


def header(token: str) -> dict[str, Any]:
    """Raises Malformed."""
    return _split(token)[0]


def discovery(issuer: str, jwks_uri: str, algorithms: Sequence[str]) -> dict[str, Any]:
    """/.well-known/openid-configuration."""
    return {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(algorithms),
    }


def _split(token: str) -> tuple[Claims, Claims, bytes]:
    parts = token.split(".")
    if len(parts) != 3:
        raise Malformed("a token has three parts")
    try:
        head, claims = orjson.loads(_decode(parts[0])), orjson.loads(_decode(parts[1]))
        signature = _decode(parts[2])
    except (ValueError, binascii.Error) as e:
        raise Malformed("a part of the token cannot be decoded") from e
    if not isinstance(head, dict) or not isinstance(claims, dict):
        raise Malformed("a part of the token is no object")
    return head, claims, signature


def _is_signed(key: PublicKey, body: bytes, signature: bytes) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, body, padding.PKCS1v15(), hashes.SHA256())
        else:
            _, digest, length = _CURVES[key.curve.name]
            if len(signature) != 2 * length:
                return False
            r, s = int.from_bytes(signature[:length], "big"), int.from_bytes(signature[length:], "big")
            key.verify(encode_dss_signature(r, s), body, ec.ECDSA(digest()))
    except InvalidSignature:
        return False
    return True


def _algorithm(key: PublicKey) -> str:
    return "RS256" if isinstance(key, rsa.RSAPublicKey) else _CURVES[key.curve.name][0]


def _key_id(key: PublicKey) -> str:
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _encode(hashlib.sha256(spki).digest())


def _jwk(key_id: str, key: PublicKey) -> dict[str, str]:
    common = {"use": "sig", "kid": key_id, "alg": _algorithm(key)}
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {**common, "kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    point, length = key.public_numbers(), _CURVES[key.curve.name][2]
    return {
        **common,
        "kty": "EC",
        "crv": f"P-{key.curve.key_size}",
        "x": _encode(point.x.to_bytes(length, "big")),
        "y": _encode(point.y.to_bytes(length, "big")),
    }


def _number(value: int) -> str:
    return _encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Raises ValueError; binascii.Error is one."""
    if not _ENCODED.fullmatch(text):
        raise ValueError("illegal base64")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
