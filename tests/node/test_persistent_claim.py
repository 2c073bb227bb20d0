"""Claims behind volumes of a pod: which of them the node takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.node.test_written_volumes import context
from timonel.node.volumes import persistent_claim
from timonel.node.volumes.source import VolumeError
from timonel.objects.meta import Object

VOLUME: Object = {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}
PV: Object = {"metadata": {"name": "pv"}, "spec": {"claimRef": {"uid": "claim-uid"}}}


def found_for(owner: str) -> Object:
    plain = context()
    meta = plain.pod["metadata"]
    refs = [{"kind": "Pod", "name": meta["name"], "uid": owner or meta["uid"], "controller": True}]
    name = f"{meta['name']}-e"
    claim = {
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "uid": "claim-uid",
            "ownerReferences": refs,
        }
    }
    return persistent_claim.volume_of(replace(plain, claims={name: (claim, PV)}), VOLUME)


def test_an_ephemeral_volume_is_behind_the_claim_that_was_made_for_the_pod() -> None:
    assert found_for("") is PV


def test_a_claim_of_the_same_name_that_is_anothers_is_not_mounted() -> None:
    with pytest.raises(VolumeError, match=r"^PVC \S+-e was not created for pod \S+ \(pod is not owner\)$"):
        found_for("another")
