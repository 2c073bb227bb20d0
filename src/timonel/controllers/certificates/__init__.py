"""CertificateSigningRequests: those of nodes are approved, approved ones are signed, old ones go.

Watches   certificatesigningrequests
Writes    certificatesigningrequests (approval, status, delete), subjectaccessreviews (create)
Upstream  pkg/controller/certificates/{approver,signer,cleaner}, pkg/apis/certificates/helpers.go

`requests` says what a request asks for; `approving`, `signing` and `cleaning` decide. Names of signers other than
upstream's own four are nobody's business here.
"""

from __future__ import annotations

from timonel.control.declare import AnyControllerType, ControllerType, Watch
from timonel.controllers.certificates import approving, cleaning, signing

NAME, RESOURCE = "certificate-controller", "certificatesigningrequests.certificates.k8s.io"

CERTIFICATES: tuple[AnyControllerType, ...] = (
    ControllerType(
        name=NAME, watches=(Watch(RESOURCE),), observe=approving.observe, reconcile=approving.reconcile
    ),
    ControllerType(
        name=NAME, watches=(Watch(RESOURCE),), observe=signing.observe, reconcile=signing.reconcile
    ),
    ControllerType(
        name=NAME, watches=(Watch(RESOURCE),), observe=cleaning.observe, reconcile=cleaning.reconcile
    ),
)
