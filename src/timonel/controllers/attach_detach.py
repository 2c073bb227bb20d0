"""Volumes of CSI drivers that attach: a VolumeAttachment for each volume and node that pods bring together.

    pod on a node ──> VolumeAttachment ── the driver attaches ──> node.status.volumesAttached
    no pod there, and the node has let go of it ──> the VolumeAttachment is deleted

The attaching itself is the driver's: its attacher acts on VolumeAttachments. One pass is about one node.

Watches   nodes; pods with claims (wake their node); persistentvolumeclaims, persistentvolumes (wake the nodes of pods
          that use them); volumeattachments.storage.k8s.io; csidrivers.storage.k8s.io (read only)
Writes    volumeattachments.storage.k8s.io; nodes/status (volumesAttached)
Upstream  pkg/controller/volume/attachdetach, pkg/volume/csi/csi_attacher.go
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from timonel.control.actions import Action, Create, Delete, Patch, Plan, Record
from timonel.control.declare import Cache, ControllerType, Watch, nobody
from timonel.objects import nodes, pods
from timonel.objects.indexing import by_node
from timonel.objects.meta import Key, Object, is_deleting, key_of, nested, parse_time, uid_of
from timonel.records import dataclass

CLAIMS, VOLUMES = "persistentvolumeclaims", "persistentvolumes"
ATTACHMENTS, DRIVERS = "volumeattachments.storage.k8s.io", "csidrivers.storage.k8s.io"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
LONGEST_UNMOUNT = 360.0  # seconds after which a volume leaves a node that does not answer any more
SINGLE = {"ReadWriteOnce", "ReadWriteOncePod"}


@dataclass(frozen=True, slots=True)
class Use:
    """A pod on the node that uses a volume which attaches."""

    pod: Object
    volume: Object


@dataclass(frozen=True, slots=True)
class Observed:
    """`here` are the attachments of the node; `elsewhere` those of its pods' volumes to other nodes."""

    uses: Sequence[Use]
    here: Sequence[Object]
    elsewhere: Sequence[Object]
    volumes: Mapping[str, Object]
    now: float


def claims_of(pod: Object) -> Iterator[Key]:
    for volume in nested(pod, "spec", "volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield Key(pod["metadata"]["namespace"], volume["persistentVolumeClaim"]["claimName"])
        elif volume.get("ephemeral"):
            yield Key(pod["metadata"]["namespace"], f"{pod['metadata']['name']}-{volume['name']}")


def observe(desired: Object, cache: Cache) -> Observed:
    name = desired["metadata"]["name"]
    here = cache.by(ATTACHMENTS, _by_node, name)
    uses = list(_uses(name, cache))
    wanted = {use.volume["metadata"]["name"] for use in uses}
    attached = (a for volume in sorted(wanted) for a in cache.by(ATTACHMENTS, _by_volume, volume))
    elsewhere = [a for a in attached if a["spec"]["nodeName"] != name]
    known = ((v, cache.get(VOLUMES, Key("", v))) for v in map(volume_of, here))
    return Observed(uses, here, elsewhere, {k: v for k, v in known if v is not None}, cache.now())


def _uses(node: str, cache: Cache) -> Iterator[Use]:
    for pod in cache.by("pods", by_node, node):
        if pods.is_terminal(pod):
            continue
        for key in claims_of(pod):
            volume = _bound(cache.get(CLAIMS, key), cache)
            if volume is not None and _attaches(volume, cache):
                yield Use(pod, volume)


def _bound(claim: Object | None, cache: Cache) -> Object | None:
    name = nested(claim, "spec", "volumeName")
    volume = cache.get(VOLUMES, Key("", name)) if name else None
    same = claim is not None and nested(volume, "spec", "claimRef", "uid") == uid_of(claim)
    return volume if same else None


def _attaches(volume: Object, cache: Cache) -> bool:
    """Unless its driver says otherwise, a CSI volume has to be attached."""
    driver = nested(volume, "spec", "csi", "driver")
    known = cache.get(DRIVERS, Key("", driver)) if driver else None
    return bool(driver) and nested(known, "spec", "attachRequired") is not False


def _by_node(attachment: Object) -> Iterable[str]:
    return (attachment["spec"]["nodeName"],)


def _by_volume(attachment: Object) -> Iterable[str]:
    return (volume_of(attachment),)


def _by_csi(volume: Object) -> Iterable[bool]:
    return (nested(volume, "spec", "csi") is not None,)


def volume_of(attachment: Object) -> str:
    return str(nested(attachment, "spec", "source", "persistentVolumeName") or "")


def attachment_name(volume: Object, node: str) -> str:
    csi = volume["spec"]["csi"]
    text = f"{csi['volumeHandle']}{csi['driver']}{node}"
    return f"csi-{hashlib.sha256(text.encode()).hexdigest()}"


def unique_name(volume: Object) -> str:
    """What nodes call an attached volume."""
    csi = volume["spec"]["csi"]
    return f"kubernetes.io/csi/{csi['driver']}^{csi['volumeHandle']}"


def reconcile(desired: Object, observed: Observed) -> Plan:
    wanted = {use.volume["metadata"]["name"]: use for use in observed.uses}
    there = {volume_of(a): a for a in observed.here}
    actions: list[Action] = []
    for name, use in sorted(wanted.items()):
        if name not in there and not is_deleting(desired):
            actions += _attach(desired, observed, use)
    detached, wait = _detach(desired, observed, wanted)
    actions += detached
    actions += _report(desired, observed, {a.key.name for a in detached if isinstance(a, Delete)})
    return Plan(tuple(actions), wait)


def _attach(desired: Object, observed: Observed, use: Use) -> list[Action]:
    name, node = use.volume["metadata"]["name"], desired["metadata"]["name"]
    single = set(use.volume["spec"].get("accessModes") or ()) <= SINGLE
    if single and any(volume_of(a) == name for a in observed.elsewhere):
        why = f'Multi-Attach error for volume "{name}" Volume is already exclusively attached to one node and'
        why += " can't be attached to another"
        return [Record("Warning", "FailedAttachVolume", why, about=use.pod)]
    attachment = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": attachment_name(use.volume, node)},
        "spec": {
            "attacher": use.volume["spec"]["csi"]["driver"],
            "nodeName": node,
            "source": {"persistentVolumeName": name},
        },
    }
    return [Create(ATTACHMENTS, attachment, exists_ok=True)]


def _detach(
    desired: Object, observed: Observed, wanted: Mapping[str, Use]
) -> tuple[list[Action], float | None]:
    """What no pod needs, once the node has unmounted it or cannot be asked."""
    in_use = set(nested(desired, "status", "volumesInUse") or ())
    patience = _patience(desired, observed.now)
    actions: list[Action] = []
    waits = False
    for attachment in observed.here:
        volume = observed.volumes.get(volume_of(attachment))
        if volume_of(attachment) in wanted or is_deleting(attachment) or not volume_of(attachment):
            continue
        if volume is not None and unique_name(volume) in in_use and (patience is None or patience > 0):
            waits = True
            continue
        actions.append(Delete(ATTACHMENTS, key_of(attachment), uid_of(attachment)))
    return actions, patience if waits else None


def _patience(desired: Object, now: float) -> float | None:
    """Seconds until the node's word does not count any more; None for a node that answers."""
    if any(t["key"] == OUT_OF_SERVICE for t in nodes.taints_of(desired)):
        return 0.0
    if nodes.is_ready(desired):
        return None
    ready = nodes.condition_of(desired, "Ready") or {}
    return max(0.0, (parse_time(ready.get("lastTransitionTime")) or now) + LONGEST_UNMOUNT - now)


def _report(desired: Object, observed: Observed, going: set[str]) -> list[Action]:
    """Tell the node what it may mount, and its pods when that has come to be."""
    attached: dict[str, str] = {}
    for attachment in observed.here:
        volume = observed.volumes.get(volume_of(attachment))
        gone = is_deleting(attachment) or attachment["metadata"]["name"] in going
        if volume is not None and not gone and nested(attachment, "status", "attached"):
            attached[unique_name(volume)] = volume["metadata"]["name"]
    before = [v["name"] for v in nested(desired, "status", "volumesAttached") or ()]
    others = [v for v in before if not v.startswith("kubernetes.io/csi/")]
    now = [*others, *sorted(attached)]
    if sorted(before) == sorted(now):
        return []
    listed = [{"name": name, "devicePath": ""} for name in now]
    patch = {"status": {"volumesAttached": listed or None}}
    actions: list[Action] = [
        Patch("nodes", key_of(desired), patch, subresource="status", uid=uid_of(desired))
    ]
    for use in observed.uses:
        if unique_name(use.volume) in attached and unique_name(use.volume) not in before:
            text = f'AttachVolume.Attach succeeded for volume "{use.volume["metadata"]["name"]}" '
            actions.append(Record("Normal", "SuccessfulAttachVolume", text, about=use.pod))
    return actions


def absent(key: Key, cache: Cache) -> Plan:
    """A node that is gone holds nothing."""
    left = [a for a in cache.by(ATTACHMENTS, _by_node, key.name) if not is_deleting(a)]
    return Plan(tuple(Delete(ATTACHMENTS, key_of(a), uid_of(a)) for a in left if volume_of(a)))


def _node_of_pod(pod: Object, cache: Cache) -> Iterable[Key]:
    node = pods.node_of(pod)
    if not node or not any(True for _ in claims_of(pod)):
        return ()
    return (Key("", node),) if _has_csi(cache) else ()


def _has_csi(cache: Cache) -> bool:
    return bool(cache.by(VOLUMES, _by_csi, True))


def _nodes_of_claim(claim: Object, cache: Cache) -> Iterable[Key]:
    if not nested(claim, "spec", "volumeName") or not _has_csi(cache):
        return ()
    key = key_of(claim)
    users = cache.by("pods", claims_of, key)
    return {Key("", node) for node in map(pods.node_of, users) if node}


def _nodes_of_volume(volume: Object, cache: Cache) -> Iterable[Key]:
    ref = nested(volume, "spec", "claimRef")
    claim = cache.get(CLAIMS, Key(ref.get("namespace", ""), ref.get("name", ""))) if ref else None
    return _nodes_of_claim(claim, cache) if claim is not None and nested(volume, "spec", "csi") else ()


def _its_node(attachment: Object, cache: Cache) -> Iterable[Key]:
    """And, when a volume is free again, the nodes that wait for it."""
    volume = cache.get(VOLUMES, Key("", volume_of(attachment)))
    waiting = _nodes_of_volume(volume, cache) if volume is not None else ()
    return {Key("", attachment["spec"]["nodeName"]), *waiting}


def _says_something(old: Object, new: Object) -> bool:
    """Of what a node posts, the volumes it uses, its readiness and its taints concern us."""

    def told(node: Object) -> tuple[object, ...]:
        status = node.get("status") or {}
        ready = (nodes.condition_of(node, "Ready") or {}).get("status")
        return status.get("volumesInUse"), status.get("volumesAttached"), ready, nodes.taints_of(node)

    return told(old) != told(new)


def _with_attachments(node: Object, cache: Cache) -> Iterable[Key]:
    name = node["metadata"]["name"]
    concerned = nested(node, "status", "volumesAttached") or cache.by(ATTACHMENTS, _by_node, name)
    return (Key("", name),) if concerned else ()


ATTACH_DETACH = ControllerType(
    name="attachdetach-controller",
    component="attachdetach-controller",
    watches=(
        Watch("nodes", wakes=_with_attachments, matters=_says_something),
        Watch("pods", wakes=_node_of_pod),
        Watch(CLAIMS, wakes=_nodes_of_claim),
        Watch(VOLUMES, wakes=_nodes_of_volume),
        Watch(ATTACHMENTS, wakes=_its_node),
        Watch(DRIVERS, wakes=nobody),
    ),
    observe=observe,
    reconcile=reconcile,
    absent=absent,
)
