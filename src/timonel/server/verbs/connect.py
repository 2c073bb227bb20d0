"""Admission of what takes a connection over: exec, attach, portforward, the proxies. Plugins see its options.

Upstream: apiserver/pkg/endpoints/handlers/rest.go (ConnectResource), pkg/apis/core/v1/conversion.go.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlencode

from timonel.objects.meta import Object
from timonel.server.chain.info import flag
from timonel.server.registry import Endpoint
from timonel.server.request import AdmissionCall, ConnectCall, Operation
from timonel.server.verbs.call import Core, undone

_FLAGS, _TEXT, _TEXTS, _NUMBERS = "flags", "text", "texts", "numbers"
_STREAMS = {"stdin": _FLAGS, "stdout": _FLAGS, "stderr": _FLAGS, "tty": _FLAGS, "container": _TEXT}
# the kind of the options, and what they hold
OPTIONS: dict[tuple[str, str], tuple[str, dict[str, str]]] = {
    ("pods", "exec"): ("PodExecOptions", {**_STREAMS, "command": _TEXTS}),
    ("pods", "attach"): ("PodAttachOptions", _STREAMS),
    ("pods", "portforward"): ("PodPortForwardOptions", {"ports": _NUMBERS}),
    ("pods", "proxy"): ("PodProxyOptions", {}),
    ("services", "proxy"): ("ServiceProxyOptions", {}),
    ("nodes", "proxy"): ("NodeProxyOptions", {}),
}


def options_of(resource: str, call: ConnectCall) -> Object | None:
    """None for what is no connection, such as logs."""
    known = OPTIONS.get((resource, call.subresource))
    if known is None:
        return None
    kind, fields = known
    query = parse_qs(call.query, keep_blank_values=True)
    found: Object = {"kind": kind, "apiVersion": "v1"}
    for name, form in fields.items():
        if value := _value(query.get(name) or [], form):
            found[name] = value
    if call.path and call.subresource == "proxy":
        found["path"] = call.path
    return found


def change(resource: str, call: ConnectCall, options: Object) -> None:
    """Make the call one with these options."""
    _, fields = OPTIONS[resource, call.subresource]
    pairs = [(name, text) for name, form in fields.items() for text in _texts(options.get(name), form)]
    known = parse_qs(call.query, keep_blank_values=True)
    others = [(name, text) for name, texts in known.items() if name not in fields for text in texts]
    call.query = urlencode([*pairs, *others])
    if call.subresource == "proxy":
        call.path = str(options.get("path") or "")


def _texts(value: Any, form: str) -> list[str]:
    if not value:
        return []
    if form == _FLAGS:
        return ["true"]
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _value(given: list[str], form: str) -> Any:
    if form == _TEXTS:
        return given
    if form == _NUMBERS:
        return [int(text) for part in given for text in part.split(",") if text.isdecimal()]
    first = given[0] if given else ""
    return flag(first) if form == _FLAGS else first


async def admit(core: Core, endpoint: Endpoint, call: ConnectCall, annotations: dict[str, str]) -> list[str]:
    """What plugins warn of. Raises what they refuse with. What they change is changed in the call; `annotations` gets
    what they have for the audit log."""
    options = options_of(endpoint.work.qualified, call)
    if options is None:
        return []
    admission = AdmissionCall(
        operation=Operation.CONNECT,
        resource=endpoint.work,
        subresource=call.subresource,
        namespace=call.namespace,
        name=call.name,
        user=call.user,
        obj=options,
        old=None,
        annotations=annotations,
        served=endpoint.rtype,
    )
    before = dict(options)
    try:
        await core.admission.admit(admission)
        await core.admission.validate(admission)
        if admission.obj is not None and admission.obj != before:
            change(endpoint.work.qualified, call, admission.obj)
        return admission.warnings
    except BaseException:
        undone(admission)
        raise
