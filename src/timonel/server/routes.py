"""Which endpoint, and which part of it, a resource request means; 404 and 405 where there is none.

Upstream: apiserver/pkg/endpoints/installer.go (the routes that it registers for each resource).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from timonel.machinery import errors
from timonel.server import bodies, fieldmanager
from timonel.server.actions import Action
from timonel.server.chain.info import Info
from timonel.server.options import write_options
from timonel.server.registry import Endpoint, Registry
from timonel.server.request import ActionCall, AdmissionCall, ConnectHandler, Operation
from timonel.server.verbs.call import Call, Core, Result, check_namespace

STATUS_VERBS = ("get", "update", "patch")


class Route(NamedTuple):
    """At most one of `action` and `connect` is set; else a verb of the endpoint is meant."""

    endpoint: Endpoint
    action: Action | None = None
    connect: ConnectHandler | None = None


class NoSuchGroup(errors.NotFound):
    """Nothing is served under this group and version; over HTTP that is answered in plain text."""

    def __init__(self) -> None:
        super().__init__("the server could not find the requested resource", details=True)


def unknown() -> errors.NotFound:
    return errors.NotFound("the server could not find the requested resource", details=True)


def not_allowed() -> errors.MethodNotAllowed:
    return errors.MethodNotAllowed(
        "the server does not allow this method on the requested resource", details=True
    )


def find(registry: Registry, info: Info) -> Route:
    endpoint = registry.endpoints.get((info.group, info.version, info.resource))
    if endpoint is None:
        raise unknown() if registry.is_builtin(info.group) else NoSuchGroup()
    rtype = endpoint.rtype
    if info.subresource:
        return _subresource(endpoint, info)
    if info.namespace and not rtype.namespaced and info.resource != "namespaces":
        raise unknown()
    if info.named and rtype.namespaced and not info.namespace:
        raise unknown()
    if rtype.namespaced and not info.namespace and info.verb not in ("list", "watch"):
        raise not_allowed()
    action = endpoint.actions.get("")
    if action is not None:
        if info.verb != "create" or info.named:
            raise not_allowed()
        return Route(endpoint, action)
    if info.method == "HEAD" or not _fits(info):
        raise not_allowed()
    if info.verb == "watch" and "watch" not in rtype.verbs and "list" in rtype.verbs:
        raise errors.MethodNotAllowed(
            f'watch is not supported on resources of kind "{rtype.plural}"', kind=rtype.plural
        )
    if info.verb not in rtype.verbs:
        raise not_allowed()
    return Route(endpoint)


def _fits(info: Info) -> bool:
    """Whether the verb goes with a path that has, or has not, a name."""
    if info.verb in ("list", "deletecollection", "create"):
        return not info.named
    return info.named or info.verb == "watch"


def _subresource(endpoint: Endpoint, info: Info) -> Route:
    rtype, name = endpoint.rtype, info.subresource
    if rtype.custom and name not in endpoint.subresources:
        raise endpoint.not_found(info.name)
    if name not in endpoint.subresources or (
        rtype.namespaced != bool(info.namespace) and info.resource != "namespaces"
    ):
        raise unknown()
    if name in endpoint.connects:
        return Route(endpoint, connect=endpoint.connects[name])
    if info.rest:
        raise unknown()
    if name in endpoint.actions:
        if info.verb != "create":
            raise not_allowed()
        return Route(endpoint, endpoint.actions[name])
    partial = endpoint.partials.get(name)
    verbs = STATUS_VERBS if partial is None else partial.verbs
    if info.verb not in verbs or info.method == "HEAD":
        raise not_allowed()
    return Route(endpoint)


async def act(core: Core, call: Call, route: Route) -> Result:
    """Run the handler of an action. Its body is an object of the action's own kind."""
    action = route.action
    assert action is not None
    options = write_options(call.info, "CreateOptions")
    obj = bodies.decode(
        action.endpoint,
        _body(call, action),
        call.content_type,
        validation=options.field_validation,
        warnings=call.warnings,
        legacy=False,
    )
    if call.info.subresource:
        if call.namespace:
            obj["metadata"].setdefault("namespace", call.namespace)
    elif action.endpoint.rtype.namespaced:
        check_namespace(call, obj)
    fieldmanager.updated(
        action.endpoint,
        None,
        obj,
        manager=fieldmanager.name_of(options, call.user_agent),
        now=core.clock.now(),
        subresource=call.info.subresource,
    )
    admission = AdmissionCall(
        operation=Operation.CREATE,
        resource=call.endpoint.work,
        subresource=call.info.subresource,
        namespace=call.namespace,
        name=call.name,
        user=call.user,
        obj=obj,
        old=None,
        dry_run=options.dry_run,
        options=options.to_tree("CreateOptions"),
        warnings=call.warnings,
        annotations=call.annotations,
        served=call.endpoint.rtype,
    )
    await core.admission.admit(admission)
    assert admission.obj is not None
    obj = admission.obj
    await core.admission.validate(admission)
    answer = await action.handler.act(
        ActionCall(
            user=call.user,
            namespace=call.namespace,
            name=call.name,
            obj=obj,
            dry_run=options.dry_run,
            options=options.to_tree("CreateOptions"),
            warnings=call.warnings,
        )
    )
    return Result(201, obj=answer)


def _body(call: Call, action: Action) -> Any:
    """The body; as of the action's own version where it came in another one of the same form."""
    if not action.also:
        return call.body
    tree, _ = bodies.read_object(action.endpoint, call.body, call.content_type, find_duplicates=False)
    if isinstance(tree, dict) and tree.get("apiVersion") in action.also:
        return {**tree, "apiVersion": action.endpoint.rtype.api_version}
    return call.body
