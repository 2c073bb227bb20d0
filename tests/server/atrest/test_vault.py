"""What is sealed can be opened with the right key only; upstream's marks, refusals in its words."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.server.atrest import Configuration, Misconfigured, Unreadable, Vault, configuration
from timonel.server.atrest.ciphers import SecretBox, xsalsa20
from timonel.server.atrest.reencryption import key_of, reencrypt, resources_of, usage
from timonel.store.memory import MemoryStore

KINDS = ("aesgcm", "aescbc", "secretbox", "chacha20poly1305")
NAME = "/secrets/default/s"


def configured(*providers: dict[str, object], resources: tuple[str, ...] = ("secrets",)) -> Configuration:
    entry = {"resources": list(resources), "providers": list(providers)}
    return configuration.parse(
        {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": [entry]}
    )


def provider(kind: str, *names: str, fill: str = "k") -> dict[str, object]:
    secret = base64.b64encode(fill.encode() * 32).decode()
    return {kind: {"keys": [{"name": name, "secret": secret} for name in names]}}


@pytest.mark.parametrize("kind", KINDS)
@given(value=st.binary(max_size=200))
def test_what_is_sealed_opens_again(kind: str, value: bytes) -> None:
    sealer = Vault(configured(provider(kind, "key1"))).sealer("secrets", "")
    sealed = sealer.sealed(NAME, value)

    assert sealer.opened(NAME, sealed) == value
    assert sealed.startswith((f"k8s:enc:{kind}:v1:key1:".encode(), b"timonel:enc:chacha20poly1305:v1:key1:"))
    assert sealer.is_current(sealed)


@pytest.mark.parametrize("kind", ["aesgcm", "secretbox", "chacha20poly1305"])
@given(at=st.integers(0, 40), bit=st.integers(0, 7))
def test_a_changed_value_is_not_opened(kind: str, at: int, bit: int) -> None:
    sealer = Vault(configured(provider(kind, "key1"))).sealer("secrets", "")
    sealed = bytearray(sealer.sealed(NAME, b"hunter2, and more of it"))
    mark = sealed.index(b"key1:") + 5
    at = mark + at % (len(sealed) - mark)
    sealed[at] ^= 1 << bit

    with pytest.raises(Unreadable):
        sealer.opened(NAME, bytes(sealed))


def test_secretbox_is_nacls() -> None:
    """The first bytes of the example in NaCl's own tests (tests/secretbox.c)."""
    key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    stream = xsalsa20(key, nonce, 48)
    plain = bytes.fromhex("be075fc53c81f2d5cf141316ebeb0c7b")

    assert (
        bytes(a ^ b for a, b in zip(plain, stream[32:], strict=True)).hex()
        == "8e993b9f48681273c29650ba32fc76ce"
    )
    assert SecretBox("a", key).open(nonce + SecretBox._tag(stream[:32], b"") + b"", b"") == b""


def test_a_value_cannot_be_moved_to_another_name() -> None:
    sealer = Vault(configured(provider("aesgcm", "key1"))).sealer("secrets", "")

    with pytest.raises(Unreadable, match="cipher: message authentication failed"):
        sealer.opened("/secrets/default/other", sealer.sealed(NAME, b"hunter2"))


@pytest.mark.parametrize(
    ("configuration_", "why"),
    [
        (configured(provider("aesgcm", "key1", fill="x")), "cipher: message authentication failed"),
        (
            configured(provider("aesgcm", "key2")),
            "no matching key was found for the provided AES transformer",
        ),
        (configured(provider("secretbox", "key1"), {"identity": {}}), "no matching prefix found"),
        (configured({"identity": {}}, resources=("configmaps",)), "no matching prefix found"),
    ],
)
def test_without_the_key_the_object_says_why(configuration_: Configuration, why: str) -> None:
    sealed = Vault(configured(provider("aesgcm", "key1"))).sealer("secrets", "").sealed(NAME, b"hunter2")

    with pytest.raises(Unreadable) as caught:
        Vault(configuration_).sealer("secrets", "").opened(NAME, sealed)

    text = f'unable to transform key "/registry/secrets/default/s": {why}'
    assert caught.value.message == f"Internal error occurred: {text}"


def test_the_first_key_writes_and_all_read() -> None:
    old = Vault(configured(provider("aescbc", "old"))).sealer("secrets", "")
    both = Vault(configured(provider("aesgcm", "new"), provider("aescbc", "old"))).sealer("secrets", "")

    assert both.opened(NAME, old.sealed(NAME, b"hunter2")) == b"hunter2"
    assert key_of(both.sealed(NAME, b"hunter2")) == "aesgcm/new"
    assert not both.is_current(old.sealed(NAME, b"hunter2"))


def test_an_unknown_key_makes_the_vault_look_again() -> None:
    newer = configured(provider("aesgcm", "new"), provider("aesgcm", "old"))
    vault = Vault(configured(provider("aesgcm", "old")), reread=lambda: newer)
    sealed = Vault(newer).sealer("secrets", "").sealed(NAME, b"hunter2")

    assert vault.sealer("secrets", "").opened(NAME, sealed) == b"hunter2"


async def test_reencryption_brings_all_under_the_first_key() -> None:
    store = MemoryStore()
    old = Vault(configured(provider("aesgcm", "old"))).sealer("secrets", "")
    for n in range(7):
        await store.create(f"/secrets/default/s{n}", old.sealed(f"/secrets/default/s{n}", b"%d" % n))
    await store.create("/secrets/default/plain", b"{}")
    await store.create("/secrets/default/lost", b"k8s:enc:aesgcm:v1:gone:" + b"x" * 60)
    vault = Vault(configured(provider("secretbox", "new"), provider("aesgcm", "old")))

    first = await reencrypt(store, vault, "secrets", "", limit=3)
    rest = await reencrypt(store, vault, "secrets", "")

    assert first[0] == 3
    assert rest == (5, ["/secrets/default/lost"])
    assert await usage(store, "secrets", "") == {"secretbox/new": 8, "aesgcm/gone": 1}
    assert (await reencrypt(store, vault, "secrets", ""))[0] == 0


def test_patterns_name_what_is_known() -> None:
    found = configured({"identity": {}}, resources=("secrets", "widgets.example.com", "*.apps"))
    known = [("deployments", "apps"), ("pods", ""), ("secrets", "")]

    assert resources_of(found, known) == [
        ("deployments", "apps"),
        ("secrets", ""),
        ("widgets", "example.com"),
    ]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"providers": [{"identity": {}}]}, "resources[0].resources: Required value"),
        ({"resources": ["secrets"]}, "resources[0].providers: Required value"),
        ({"resources": ["secrets"], "providers": [{"rot13": {}}]}, "Unsupported value"),
        ({"resources": ["secrets"], "providers": [{"aesgcm": {"keys": []}}]}, "keys: Required value"),
        ({"resources": ["secrets"], "providers": [{"a": {}, "b": {}}]}, "must name one provider"),
        ({"resources": ["secrets"], "providers": [provider("aesgcm", "a", "a")]}, "two keys have one name"),
        ({"resources": ["secrets"], "providers": [provider("aesgcm", "a:b")]}, "must not contain ':'"),
        (
            {
                "resources": ["secrets"],
                "providers": [{"aesgcm": {"keys": [{"name": "a", "secret": "eA=="}]}}],
            },
            "must have 16, 24, 32 bytes, not 1",
        ),
        (
            {"resources": ["secrets"], "providers": [{"aesgcm": {"keys": [{"name": "a", "secret": 7}]}}]},
            "must be base64",
        ),
        (7, "Required value"),
    ],
)
def test_a_configuration_that_cannot_be_used(entry: object, why: str) -> None:
    tree = {"apiVersion": "v1", "kind": "EncryptionConfiguration", "resources": [entry]}
    with pytest.raises(Misconfigured) as caught:
        configuration.parse(tree)

    assert why in str(caught.value)


def test_a_configuration_is_written_as_it_is_read() -> None:
    found = configured(provider("aesgcm", "a", "b"), {"identity": {}}, provider("secretbox", "c"))

    assert configuration.parse(found.to_tree()) == found
