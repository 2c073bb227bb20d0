"""The plugins that need the server's registry, in upstream's order: the optional ones, policies and webhooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from timonel.aio.clock import Clock
from timonel.server.admission.figures import Figures
from timonel.server.admission.forms import Forms
from timonel.server.admission.optional import (
    AlwaysPullImages,
    DenyServiceExternalIPs,
    OwnerReferencesPermissionEnforcement,
)
from timonel.server.admission.policies import invocations
from timonel.server.admission.policies.mutating import MutatingPolicies
from timonel.server.admission.policies.params import Params
from timonel.server.admission.policies.validating import ValidatingPolicies
from timonel.server.admission.webhooks import hooks
from timonel.server.admission.webhooks.mutating import MutatingWebhooks
from timonel.server.admission.webhooks.validating import ValidatingWebhooks
from timonel.server.outbound import Outbound
from timonel.server.registry import Registry
from timonel.server.request import AdmissionPlugin, Authorizer, Reader


def plugins(
    registry: Registry,
    *,
    reader: Reader,
    authorizer: Authorizer,
    outbound: Outbound,
    clock: Clock,
    figures: Figures,
    forget: Callable[[], None],
) -> Sequence[AdmissionPlugin]:
    """`forget` is called when they may care for other calls than before."""
    registry.listeners.append(forget)
    forms = Forms(registry)
    policies = invocations.Around(reader, forms, Params(registry), authorizer, figures)
    webhooks = hooks.Around(reader, forms, authorizer, outbound, clock, figures, forget)
    return (
        AlwaysPullImages(),
        DenyServiceExternalIPs(),
        OwnerReferencesPermissionEnforcement(registry, authorizer),
        MutatingPolicies(policies, forget),
        MutatingWebhooks(webhooks),
        ValidatingPolicies(policies, forget),
        ValidatingWebhooks(webhooks),
    )
