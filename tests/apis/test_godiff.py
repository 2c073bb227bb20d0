from __future__ import annotations

from timonel.apis import godiff
from timonel.apis.core.gostructs import CLAIM_SPEC, VOLUME_SOURCE


def test_absent_fields_are_printed_under_their_go_names() -> None:
    shown = godiff.in_go_form(
        {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}, CLAIM_SPEC
    )
    assert list(shown)[:4] == ["AccessModes", "Selector", "Resources", "VolumeName"]
    assert shown["Resources"] == {"Limits": None, "Requests": {"storage": "1Gi"}}
    assert (shown["VolumeName"], shown["VolumeMode"]) == ("", None)


def test_a_changed_source() -> None:
    old, new = ({"hostPath": {"path": path, "type": ""}} for path in ("/x", "/y"))
    assert godiff.diff(old, new, VOLUME_SOURCE) == (
        '@@ -2,7 +2,7 @@\n  "GCEPersistentDisk": null,\n  "AWSElasticBlockStore": null,\n  "HostPath": {\n'
        '-  "Path": "/x",\n+  "Path": "/y",\n   "Type": ""\n  },\n  "Glusterfs": null,\n'
    )


def test_equal_values_have_no_diff() -> None:
    assert godiff.diff({"volumeName": "a"}, {"volumeName": "a"}, CLAIM_SPEC) == ""
