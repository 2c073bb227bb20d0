"""Records: whatever the standard library's decorator would have made of a class, ours does, later."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import field
from typing import Any

import pytest

from timonel import records

Decorator = Callable[..., Any]
OPTIONS: list[dict[str, bool]] = [
    {},
    {"slots": True},
    {"frozen": True},
    {"frozen": True, "slots": True},
    {"eq": False, "slots": True},
    {"repr": False},
    {"kw_only": True, "frozen": True, "slots": True},
]


def made_by(dataclass: Decorator, options: dict[str, bool]) -> Any:
    @dataclass(**options)
    class Thing:
        a: int
        b: str = "b"
        c: list[int] = field(default_factory=list, compare=False)
        d: int = field(default=4, init=False)
        e: str = field(default="", repr=False, kw_only=True)

    return Thing


def outcome(act: Callable[[], Any]) -> Any:
    """What comes of it, in words that are the same for two classes of one name."""
    try:
        return repr(act()).replace("test_records.", "").split(" object at ")[0]
    except (TypeError, AttributeError) as exc:
        return type(exc).__name__


ACTS: dict[str, Callable[[Any], Any]] = {
    "fields": lambda t: [(f.name, f.kw_only, f.init) for f in dataclasses.fields(t)],
    "match": lambda t: t.__match_args__,
    "slots": lambda t: getattr(t, "__slots__", None),
    "all": lambda t: t(a=1, b="x", c=[2], e="z"),
    "in order": lambda t: t(1, "x", [2]),
    "least": lambda t: (t(a=1), t(a=1).d, t(a=1).e),
    "too few": lambda t: t(),
    "unknown": lambda t: t(a=1, z=2),
    "not for init": lambda t: t(a=1, d=2),
    "equal": lambda t: (t(a=1) == t(a=1), t(a=1) == t(a=2), t(a=1, c=[1]) == t(a=1), t(a=1) == 1),
    "hash": lambda t: len({hash(each) for each in (t(a=1), t(a=1))}),  # both are there at the same time
    "own list": lambda t: t(a=1).c is t(a=1).c,
    "set": lambda t: setattr(t(a=1), "a", 2),
    "delete": lambda t: delattr(t(a=1), "a"),
    "replace": lambda t: dataclasses.replace(t(a=1, e="e"), a=5),
    "as a dict": lambda t: dataclasses.asdict(t(a=1)),
    "copy": lambda t: copy.deepcopy(t(a=1, c=[3])),
}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("act", ACTS)
def test_a_record_is_what_the_standard_library_makes(act: str, options: dict[str, bool]) -> None:
    theirs, ours = made_by(dataclasses.dataclass, options), made_by(records.dataclass, options)

    for _ in range(2):  # when its methods are made, and when they are there
        assert outcome(lambda: ACTS[act](ours)) == outcome(lambda: ACTS[act](theirs))


@records.dataclass(frozen=True, slots=True)
class Base:
    """Something that others extend."""

    a: int


@records.dataclass(frozen=True, slots=True)
class Further(Base):
    b: int = 2

    def __post_init__(self) -> None:
        if self.b < 0:
            raise ValueError("b is negative")


@records.dataclass(slots=True)
class Told:
    a: int

    def __repr__(self) -> str:
        return f"a is {self.a}"

    def __hash__(self) -> int:
        return 7


def test_frozen_records_take_no_new_attributes_either() -> None:
    with pytest.raises(AttributeError):
        Further(1).__setattr__("zz", 2)


def test_fields_are_inherited_and_what_must_hold_is_looked_at() -> None:
    assert (Further(1).a, Further(1, 3).b) == (1, 3)
    with pytest.raises(ValueError, match="negative"):
        Further(1, -1)


def test_what_the_class_has_itself_stays() -> None:
    assert (repr(Told(3)), hash(Told(3))) == ("a is 3", 7)


def test_frozen_records_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Further(1, 3))) == Further(1, 3)


def test_a_method_that_was_made_is_no_longer_asked_for() -> None:
    Further(1)
    made = Further.__init__
    Further(2)

    assert Further.__init__ is made


def test_who_repeats_himself_is_cut_short() -> None:
    thing = made_by(records.dataclass, {})(a=1)
    thing.c = [thing]

    assert "..." in repr(thing)
