"""Who may use an image that is on the node already: whoever could have pulled it.

For each image that was pulled here it is kept with which credentials, by their hash and by the secrets that they were
in; a pull without any makes it everybody's. Images that came another way (imported) are everybody's, unless all are
verified. What is kept is in a file, and so is that a pull was begun: a crash in the middle of one gives nothing away.
Upstream: pkg/kubelet/images/pullmanager (ImagePullManager, MustAttemptImagePull).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from timonel.node import imagenames
from timonel.node.cri.runtime import Auth
from timonel.node.imagesettings import ALWAYS, NEVER
from timonel.node.ledger import Ledger
from timonel.objects.meta import Object
from timonel.records import dataclass

FRESH = 600.0  # seconds in which a record is kept though its image is not listed: the list may be older
BEGUN = ""  # in place of the image's id


@dataclass(frozen=True, slots=True)
class Credential:
    """`secret` is where it was: uid, namespace, name; empty if it came from elsewhere."""

    auth: Auth
    secret: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        a = self.auth
        parts = [a.username, a.password, a.auth, a.identity_token, a.registry_token]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def of_secrets(image: str, secrets: Iterable[Object]) -> list[Credential]:
    """Those that fit the image, the most specific first."""
    all_ = list(secrets)
    origin = dict[Auth, tuple[str, ...]]()
    for secret in all_:
        meta = secret.get("metadata") or {}
        where = tuple(str(meta.get(key, "")) for key in ("uid", "namespace", "name"))
        for auth in imagenames.credentials(image, [secret]):
            origin.setdefault(auth, where if where[0] else ())
    return [Credential(auth, origin[auth]) for auth in imagenames.credentials(image, all_)]


class PullRecords:
    """`policy` is one of imagesettings.POLICIES."""

    def __init__(self, file: Path, policy: str) -> None:
        self._ledger = Ledger(file)
        self._policy = policy
        self._known: dict[tuple[str, str], Any] = {}
        self._cut_short = set[str]()  # pulls that an earlier life of the agent had begun
        self.is_verifying = policy != NEVER

    def open(self) -> None:
        """Read what was kept."""
        self._known = {key: value for key, value in self._ledger.read().items() if isinstance(value, dict)}
        self._cut_short = {key[1] for key in self._known if key[0] == BEGUN}

    def begin(self, image: str) -> None:
        """A pull of this name."""
        self._known[BEGUN, image] = {}
        self._ledger.write(self._known)

    def fail(self, image: str) -> None:
        """What an earlier life had begun may have come to its end then, whatever came of it now."""
        if image not in self._cut_short and self._known.pop((BEGUN, image), None) is not None:
            self._ledger.write(self._known)

    def pulled(self, image: str, image_id: str, used: Credential | None, now: float) -> None:
        """It was pulled by this name; with a credential, or without any."""
        self._known.pop((BEGUN, image), None)
        self._cut_short.discard(image)
        key = (image_id, imagenames.repository(image))
        entry = dict(self._known.get(key) or {})
        entry["at"] = now
        if used is None:
            entry["everybody"] = True
        else:
            entry["hashes"] = sorted({*entry.get("hashes", ()), used.hash})
            if used.secret:
                known = {tuple(secret) for secret in entry.get("secrets", ())}
                entry["secrets"] = sorted(list(secret) for secret in {*known, used.secret})
        self._known[key] = entry
        self._ledger.write(self._known)

    def is_open(self, image: str, image_id: str) -> bool | None:
        """Whether everybody may use it; None: it depends on credentials."""
        if not self.is_verifying:
            return True
        same = {key: entry for key, entry in self._known.items() if key[0] == image_id}
        if any(entry.get("everybody") for entry in same.values()):
            return True  # by whatever name: it is the same image
        if (image_id, imagenames.repository(image)) in same:
            return None
        if same or (BEGUN, image) in self._known:
            return False  # pulled here, but not by that name, or not to the end
        return self._policy != ALWAYS

    def admits(self, image: str, image_id: str, found: Iterable[Credential]) -> bool:
        entry: Mapping[str, Any] = self._known.get((image_id, imagenames.repository(image))) or {}
        hashes = set(entry.get("hashes", ()))
        secrets = {tuple(secret) for secret in entry.get("secrets", ())}
        return any(c.hash in hashes or (c.secret and c.secret in secrets) for c in found)

    def keep(self, image_ids: AbstractSet[str], now: float) -> None:
        """Other images are not here any more."""
        gone = [
            key
            for key, entry in self._known.items()
            if key[0] != BEGUN and key[0] not in image_ids and now - entry.get("at", 0.0) > FRESH
        ]
        for key in gone:
            del self._known[key]
        if gone:
            self._ledger.write(self._known)
