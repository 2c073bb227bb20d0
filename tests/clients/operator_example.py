"""A small kopf operator over ConfigMaps: notes what it sees in their data. For test_kopf."""

from __future__ import annotations

from typing import Any

import kopf

OURS = {"operated": "yes"}


@kopf.on.create("configmaps", labels=OURS)
def created(body: Any, patch: Any, **_: Any) -> None:
    patch.setdefault("data", {})["made"] = "yes"
    kopf.info(body, reason="Noted", message="A new one")


@kopf.on.update("configmaps", labels=OURS, field="data.colour")
def updated(new: Any, patch: Any, **_: Any) -> None:
    patch.setdefault("data", {})["seen"] = str(new)


@kopf.on.delete("configmaps", labels=OURS)
def deleted(body: Any, **_: Any) -> None:
    kopf.info(body, reason="Gone", message="An old one")


@kopf.timer("pods", interval=0.5, labels=OURS)
def tick(patch: Any, **_: Any) -> None:
    patch.metadata.annotations["ticked"] = "yes"
