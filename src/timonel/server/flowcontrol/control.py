"""Flow control of one server: the configuration as the API has it, and what it means for a request.

The configuration is digested when a request is classified after a change, so a change holds for the next request.
Seats are handed from level to level only while some level has too few of them: a server at rest does nothing.

Upstream: apiserver/pkg/util/flowcontrol/apf_controller.go, apf_filter.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from timonel.aio.clock import Clock, Timer
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.chain.info import Info
from timonel.server.flowcontrol import defaults, estimate, matching
from timonel.server.flowcontrol.concurrency import allocate, limits, widest
from timonel.server.flowcontrol.defaults import CATCH_ALL, LEVELS, SCHEMAS, Default
from timonel.server.flowcontrol.levels import Level, Schema, Seat
from timonel.server.request import Reader, User
from timonel.server.watchcache import ResourceCache

REMEMBERED = 8192  # classifications
ADJUST_EVERY = 10.0  # seconds between two hand-overs of seats


@dataclass(frozen=True, slots=True)
class Settings:
    """`seats`: of all levels together. `enabled` False: `inflight` bounds requests instead."""

    enabled: bool = True
    max_inflight: int = 400
    max_mutating: int = 200

    @property
    def seats(self) -> int:
        return self.max_inflight + self.max_mutating


@dataclass(frozen=True, slots=True)
class _Known:
    matches: matching.Matches
    schema: Schema


class FlowControl:
    def __init__(self, reader: Reader, clock: Clock, seats: int) -> None:
        self._reader, self._clock, self.seats = reader, clock, seats
        self.levels: dict[str, Level] = {}
        self.schemas: dict[str, Schema] = {}
        self._leaving: list[Level] = []  # configured no longer, but in use
        self._order: list[_Known] = []
        # whom the same user asking for the same belonged to before; both are mostly the same objects again
        self._before: dict[tuple[int, int], tuple[User, Info, Schema]] = {}
        self._changed = True
        self._timer: Timer | None = None

    def follow(self) -> None:
        """Heed the configuration from now on."""
        self._reader.on_change(LEVELS, self._note)
        self._reader.on_change(SCHEMAS, self._note)

    def _note(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and _same(old, new):
            return
        self._changed = True
        for schema in self.schemas.values():
            schema.stale = True

    def refresh(self) -> None:
        """Digest the configuration, if it has changed."""
        if self._changed:
            self._digest()

    # ---- requests

    def classify(self, user: User, info: Info) -> Schema:
        self.refresh()
        key = id(user), id(info)
        before = self._before.get(key)
        if before is not None and before[0] is user and before[1] is info:
            return before[2]
        schema = next((known.schema for known in self._order if known.matches(user, info)), None)
        schema = schema or self.schemas[CATCH_ALL]
        if len(self._before) >= REMEMBERED:
            self._before.clear()
        self._before[key] = user, info, schema
        return schema

    def try_enter(self, schema: Schema, info: Info, cache: ResourceCache | None) -> Seat | None:
        return schema.level.enter(schema, estimate.seats(info, cache, schema.level.widest))

    async def enter(
        self, schema: Schema, user: User, info: Info, cache: ResourceCache | None, patience: float
    ) -> Seat:
        """Wait for a seat, at most `patience` seconds. Raises Refused."""
        level = schema.level
        seats = estimate.seats(info, cache, level.widest)
        seat = level.enter(schema, seats)
        if seat is not None:
            return seat
        flow = matching.distinguisher(schema.spec, user, info)
        return await level.wait(schema, flow, f"{info.verb} {info.path}", seats, patience)

    # ---- configuration

    def _digest(self) -> None:
        levels = _specs(self._reader.list(LEVELS), defaults.PRIORITY_LEVELS)
        schemas = _specs(self._reader.list(SCHEMAS), defaults.FLOW_SCHEMAS)
        specs = {name: obj["spec"] for name, obj in levels.items()}
        computed = limits(specs, self.seats)
        self._leaving = [level for level in self._leaving if not level.at_rest]
        for name in [name for name in self.levels if name not in levels]:
            self._leaving.append(self.levels.pop(name))
        for name, obj in levels.items():
            level = self.levels.get(name)
            if level is None:
                level = self.levels[name] = Level(name, "", self._clock, pressed=self._press)
            nominal = computed[name].nominal
            uid = obj["metadata"].get("uid", "")
            level.configure(uid, obj["spec"], computed[name], widest(obj["spec"], nominal))
        former, self.schemas, self._order = self.schemas, {}, []
        self._before.clear()
        for obj in sorted(schemas.values(), key=matching.precedence):
            level = self.levels.get((obj["spec"].get("priorityLevelConfiguration") or {}).get("name", ""))
            if level is None:
                continue  # it dangles
            schema = self._schema(former, obj, level)
            self.schemas[schema.name] = schema
            self._order.append(_Known(matching.compiled(obj["spec"]), schema))
        self._changed = False

    def _schema(self, former: Mapping[str, Schema], obj: Object, level: Level) -> Schema:
        name, uid = obj["metadata"]["name"], obj["metadata"].get("uid", "")
        head = (
            f"X-Kubernetes-Pf-Flowschema-Uid: {uid}\r\nX-Kubernetes-Pf-Prioritylevel-Uid: {level.uid}\r\n"
        ).encode("latin-1", "replace")
        made = Schema(name, uid, obj["spec"], level, head)
        was = former.get(name)
        if was is not None:  # what it has counted goes on
            made.dispatched, made.refused = was.dispatched, was.refused
            made.ran, made.waited = was.ran, was.waited
        return made

    # ---- lending and borrowing

    def _press(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_later(ADJUST_EVERY, self._adjust)

    def _adjust(self) -> None:
        """Give each level seats by what it needed lately; go on while any level is in use, then as it was at first."""
        self._timer = None
        limited = [level for level in self.levels.values() if not level.exempt]
        if all(level.at_rest for level in limited):
            for level in limited:
                level.start_over()
            return
        demands = [level.demand(self.seats) for level in limited]
        for level, seats in zip(limited, allocate(demands, self.seats), strict=True):
            level.set_limit(seats)
        self._timer = self._clock.call_later(ADJUST_EVERY, self._adjust)


def _same(old: Object, new: Object) -> bool:
    """Whether nothing that matters here has changed."""
    return bool(old["spec"] == new["spec"] and old["metadata"].get("uid") == new["metadata"].get("uid"))


def _specs(found: Iterable[Object], builtin: Iterable[Default]) -> dict[str, Object]:
    """What there is, by name, with the mandatory ones even if they are not there yet."""
    objects = {default.name: default.obj() for default in builtin if default.mandatory}
    return objects | {obj["metadata"]["name"]: obj for obj in found}
