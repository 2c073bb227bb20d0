"""API Priority and Fairness: whom a request belongs to, whether it may run now, waits its turn, or is refused.

    defaults ──> objects in the API ──> matching (which FlowSchema) ──> levels (seats and queues) ──> response headers
                                              concurrency (how many seats each level has)

Upstream: apiserver/pkg/util/flowcontrol.
"""

from timonel.server.flowcontrol.control import FlowControl, Settings
from timonel.server.flowcontrol.defaults import LEVELS, SCHEMAS
from timonel.server.flowcontrol.inflight import Inflight
from timonel.server.flowcontrol.upkeep import Upkeep

__all__ = ["LEVELS", "SCHEMAS", "FlowControl", "Inflight", "Settings", "Upkeep"]
