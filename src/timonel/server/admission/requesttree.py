"""An AdmissionRequest as a tree: what webhooks are sent, and what expressions call `request`. Pure.

Upstream: apiserver/pkg/admission/plugin/webhook/request/admissionreview.go, admission/plugin/cel/condition.go.
"""

from __future__ import annotations

from timonel.objects.meta import Object
from timonel.server.admission.forms import Form
from timonel.server.admission.matching import namespace_of
from timonel.server.request import AdmissionCall, User


def user_info(user: User) -> Object:
    info: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


def request_tree(call: AdmissionCall, form: Form, own: Form, dry_run: bool) -> Object:
    """Without uid and objects. `form` is what is matched, `own` what the client sent."""
    tree: Object = {
        "kind": _kind(form),
        "resource": _resource(form),
        "requestKind": _kind(own),
        "requestResource": _resource(own),
        "operation": call.operation.value,
        "userInfo": user_info(call.user),
        "dryRun": dry_run,
        "options": call.options or None,
    }
    optional = {
        "subResource": form.place.subresource,
        "requestSubResource": own.place.subresource,
        "name": call.name,
        "namespace": namespace_of(call),
    }
    return tree | {key: value for key, value in optional.items() if value}


def _kind(form: Form) -> Object:
    group, version, kind = form.kind
    return {"group": group, "version": version, "kind": kind}


def _resource(form: Form) -> Object:
    place = form.place
    return {"group": place.group, "version": place.version, "resource": place.resource}
