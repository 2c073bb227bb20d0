"""Lives that are written down: kwok's Stages (`kwok.x-k8s.io/v1alpha1`), read from a file. Pure.

A Stage says for which objects it is (selector), how long they wait (delay), and what then becomes of them (next, or
steps): a change of the status or of anything else, an event, finalizers, deletion. Of several that match, weights
decide.

Upstream: kwok's pkg/apis/v1alpha1/stage_types.go, pkg/utils/lifecycle.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from timonel.node.simulation import query, stagecel, stagefunctions, template
from timonel.node.simulation.template import Function, Template, TemplateError
from timonel.objects.meta import Object, annotations_of, labels_of, parse_time
from timonel.records import dataclass

GROUP = "kwok.x-k8s.io"
KINDS = ("Node", "Pod")
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
PATCHES = ("strategic", "merge", "json")
HEAVIEST = 1e15  # weight: their sum must stay finite
LONGEST = 1e10  # seconds of a delay, some three hundred years
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")


class WrongStage(Exception):
    """What a file holds cannot be used; the message says which Stage and why."""


@dataclass(frozen=True, slots=True)
class Requirement:
    values_of: query.Values
    operator: str
    values: frozenset[str]

    def holds(self, obj: Object) -> bool:
        found = [_text(value) for value in self.values_of(obj)]
        match self.operator:
            case "In":
                return any(value in self.values for value in found)
            case "NotIn":
                return not any(value in self.values for value in found)
            case "Exists":
                return bool(found)
            case _:
                return not found


Condition = Callable[[Object], bool]


@dataclass(frozen=True, slots=True)
class Number:
    """A fixed number, or what a key finds in the object."""

    fixed: float | None
    of: query.Values | None = None

    def __call__(self, obj: Object, read: Callable[[str], float | None]) -> float | None:
        for value in self.of(obj) if self.of is not None else ():
            found = read(_text(value))
            if found is not None:
                return found
        return self.fixed


@dataclass(frozen=True, slots=True)
class Event:
    type: str
    reason: str
    message: Template


@dataclass(frozen=True, slots=True)
class Finalizers:
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    empty: bool = False

    def applied(self, found: Sequence[str]) -> list[str]:
        kept = [] if self.empty else [f for f in found if f not in self.remove]
        return [*kept, *(f for f in self.add if f not in kept)]


@dataclass(frozen=True, slots=True)
class Patch:
    template: Template
    kind: str = "strategic"
    root: str = "status"
    subresource: str = "status"

    def rendered(self, obj: Object, functions: Mapping[str, Function]) -> Any:
        """The body to send. Raises TemplateError."""
        from timonel.node.simulation import yamlobjects  # here: most clusters have no Stages

        try:
            body = yamlobjects.one(self.template.render(obj, functions))
        except yamlobjects.YAMLError as e:
            raise TemplateError(f"what it gives is no YAML: {e}") from e
        if body is None:
            return None
        return {self.root: body} if self.root and self.kind != "json" else body


@dataclass(frozen=True, slots=True)
class Deed:
    """One step of what a Stage does: one of these."""

    event: Event | None = None
    finalizers: Finalizers | None = None
    delete: bool = False
    patch: Patch | None = None

    def check(self, functions: Mapping[str, Function]) -> None:
        """Whether its templates call nothing else. Raises TemplateError."""
        if self.event is not None:
            self.event.message.check(functions)
        if self.patch is not None:
            self.patch.template.check(functions)


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    kind: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    requirements: tuple[Condition, ...]
    weight: Number
    duration: Number
    jitter: Number
    deeds: tuple[Deed, ...]

    def matches(self, obj: Object) -> bool:
        labels, annotations = labels_of(obj), annotations_of(obj)
        return (
            all(labels.get(k) == v for k, v in self.labels.items())
            and all(annotations.get(k) == v for k, v in self.annotations.items())
            and all(holds(obj) for holds in self.requirements)
        )

    def delay(self, obj: Object, now: float, chance: random.Random) -> float:
        """Seconds to wait: the duration, or anything from it to the jitter where that is longer."""

        def read(text: str) -> float | None:
            return duration(text, now)

        least = self.duration(obj, read) or 0.0
        most = self.jitter(obj, read)
        if most is None:
            return max(least, 0.0)
        return max(chance.uniform(least, most) if most > least else most, 0.0)


class Stages:
    def __init__(self, stages: Iterable[Stage]) -> None:
        self._by_kind: dict[str, list[Stage]] = {}
        for stage in stages:
            self._by_kind.setdefault(stage.kind, []).append(stage)

    def lives(self, kind: str) -> bool:
        """Whether objects of this kind live by Stages."""
        return kind in self._by_kind

    def matching(self, kind: str, obj: Object) -> list[Stage]:
        return [stage for stage in self._by_kind.get(kind, ()) if stage.matches(obj)]


def chosen(found: Sequence[Stage], obj: Object, chance: random.Random) -> Stage | None:
    """One of those that match, as their weights say; where none has a weight, each is as likely."""
    if not found:
        return None
    weights = [min(max(stage.weight(obj, _number) or 0.0, 0.0), HEAVIEST) for stage in found]
    if not any(weights):
        return chance.choice(found)
    return chance.choices(found, weights)[0]


def duration(text: str, now: float) -> float | None:
    """Of Go's durations, or until a time; None where it is neither."""
    if re.match(r"\d{4}-\d\d-\d\dT", text):
        try:
            return (parse_time(text) or now) - now
        except ValueError:
            return None
    pieces = _PIECE.findall(text)
    if not pieces or "".join(n + u for n, u in pieces) != text:
        return None
    return min(sum(float(number) * _UNITS[unit] for number, unit in pieces), LONGEST)


def _number(text: str) -> float | None:
    """None for what is none, or is not finite."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _text(value: Any) -> str:
    return template.shown(value)


# ---- reading


def read(text: str) -> Stages:
    """Of a file of YAML documents; what is no Stage is passed over. Raises WrongStage."""
    from timonel.node.simulation import yamlobjects  # here: most clusters have no Stages

    try:
        documents = [d for d in yamlobjects.every(text) if d]
    except yamlobjects.YAMLError as e:
        raise WrongStage(f"it is no YAML: {e}") from e
    found = (_stage(raw) for raw in _flat(documents) if raw.get("kind") == "Stage")
    return Stages(stage for stage in found if stage is not None)


def _flat(documents: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for each in documents:
        if not isinstance(each, dict):
            raise WrongStage("it holds something that is no object")
        if str(each.get("kind", "")).endswith("List"):
            yield from _flat(each.get("items") or ())
        else:
            yield each


def _stage(raw: Mapping[str, Any]) -> Stage | None:
    name = str((raw.get("metadata") or {}).get("name", ""))
    try:
        if not str(raw.get("apiVersion", "")).startswith(f"{GROUP}/"):
            raise WrongStage(f"its apiVersion is not of {GROUP}")
        return _parsed(name, raw.get("spec") or {})
    except (WrongStage, TemplateError, query.Unreadable, stagecel.NotUnderstood) as e:
        raise WrongStage(f"stage {name!r}: {e}") from e
    except RecursionError as e:
        raise WrongStage(f"stage {name!r}: it is nested too deep") from e
    except (AttributeError, TypeError, ValueError, KeyError) as e:
        raise WrongStage(f"stage {name!r}: it is not as a Stage must be: {e}") from e


def _parsed(name: str, spec: Mapping[str, Any]) -> Stage | None:
    """None for one that is for no objects: it has no selector."""
    kind = (spec.get("resourceRef") or {}).get("kind", "")
    if kind not in KINDS:
        raise WrongStage(f"resourceRef.kind must be one of {', '.join(KINDS)}, not {kind!r}")
    selector, delay = spec.get("selector") or {}, spec.get("delay") or {}
    stage = Stage(
        name=name,
        kind=kind,
        labels=_texts(selector, "matchLabels"),
        annotations=_texts(selector, "matchAnnotations"),
        requirements=tuple(_requirement(each) for each in selector.get("matchExpressions") or ()),
        weight=Number(_weight(spec), _key(spec.get("weightFrom"))),
        duration=_delay(delay, "duration"),
        jitter=_delay(delay, "jitterDuration"),
        deeds=tuple(_deeds(spec)),
    )
    known = stagefunctions.functions(
        {}, node="", node_ip="", address=str, now=0.0, chance=random.Random(0)
    )  # whatever they give
    for deed in stage.deeds:
        deed.check(known)
    return stage if spec.get("selector") is not None else None


def _texts(selector: Mapping[str, Any], name: str) -> dict[str, str]:
    found = selector.get(name) or {}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise WrongStage(f"{name} must have texts for its keys")
    return found


def _requirement(raw: Mapping[str, Any]) -> Condition:
    if raw.get("cel"):
        return stagecel.condition(str(raw["cel"]["expression"]))
    raw = raw.get("jq") or raw
    operator = raw.get("operator")
    if operator not in OPERATORS:
        raise WrongStage(f"operator must be one of {', '.join(OPERATORS)}, not {operator!r}")
    if not isinstance(raw.get("values") or [], list):
        raise WrongStage("values must be a list")
    values_of, values = query.compiled(str(raw["key"])), frozenset(map(_text, raw.get("values") or ()))
    if (operator in ("In", "NotIn")) != bool(values):
        raise WrongStage(f"operator {operator} takes {'no values' if values else 'values'}")
    return Requirement(values_of, operator, values).holds


def _key(raw: Mapping[str, Any] | None) -> query.Values | None:
    if not raw:
        return None
    if raw.get("cel"):
        return stagecel.values(str(raw["cel"]["expression"]))
    text = (raw.get("jq") or {}).get("expression") or raw.get("expressionFrom")
    return query.compiled(str(text)) if text else None


def _weight(spec: Mapping[str, Any]) -> float:
    found = float(spec.get("weight") or 0)
    if not math.isfinite(found):
        raise WrongStage("weight must be finite")
    return found


def _delay(raw: Mapping[str, Any], name: str) -> Number:
    fixed = raw.get(f"{name}Milliseconds")
    if fixed is not None and not math.isfinite(float(fixed)):
        raise WrongStage(f"{name}Milliseconds must be finite")
    return Number(None if fixed is None else min(float(fixed) / 1000, LONGEST), _key(raw.get(f"{name}From")))


def _deeds(spec: Mapping[str, Any]) -> Iterator[Deed]:
    """Of `steps`, or of the older `next`."""
    for step in spec.get("steps") or ():
        yield from _of_step(step)
    found = spec.get("next") or {}
    for part in ("event", "finalizers", "delete"):
        if found.get(part):
            yield from _of_step({part: found[part]})
    if found.get("statusTemplate"):
        kind = str(found.get("statusPatchType") or "strategic")
        yield Deed(patch=_patch({"template": found["statusTemplate"], "type": kind, **_STATUS}))
    for patch in found.get("patches") or ():
        yield Deed(patch=_patch(patch))


_STATUS = {"root": "status", "subresource": "status"}


def _of_step(raw: Mapping[str, Any]) -> Iterator[Deed]:
    if event := raw.get("event"):
        message = Template(str(event.get("message", "")))
        yield Deed(event=Event(str(event.get("type") or "Normal"), str(event.get("reason", "")), message))
    if finalizers := raw.get("finalizers"):
        yield Deed(
            finalizers=Finalizers(
                tuple(each["value"] for each in finalizers.get("add") or ()),
                tuple(each["value"] for each in finalizers.get("remove") or ()),
                bool(finalizers.get("empty")),
            )
        )
    if raw.get("patch"):
        yield Deed(patch=_patch(raw["patch"]))
    if raw.get("delete"):
        yield Deed(delete=True)


def _patch(raw: Mapping[str, Any]) -> Patch:
    kind = str(raw.get("type") or "strategic")
    if kind not in PATCHES:
        raise WrongStage(f"the type of a patch must be one of {', '.join(PATCHES)}, not {kind!r}")
    return Patch(
        Template(str(raw["template"])), kind, str(raw.get("root", "")), str(raw.get("subresource", ""))
    )
