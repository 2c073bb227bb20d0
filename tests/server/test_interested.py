"""Who is asked about an event. `test_watchcache.py` and the wire scenarios hold what each is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from timonel.server.interested import NAME, NAMESPACE, Place, Watchers, value_of

NODE = "spec.nodeName"


@dataclass(frozen=True)
class Pod:
    namespace: str
    name: str
    fields: Mapping[str, str] = field(default_factory=dict)


words = st.sampled_from(["", "a", "b"])
pods = st.builds(lambda n, name, node: Pod(n, name, {NODE: node} if node else {}), words, words, words)
places = st.none() | st.tuples(st.sampled_from([NAMESPACE, NAME, NODE]), words)


@given(st.lists(places), st.sets(st.integers(0, 5)), st.none() | pods, st.none() | pods)
def test_whoever_looks_at_a_place_is_asked_about_what_was_or_is_there(
    wanted: list[Place | None], gone: set[int], old: Pod | None, new: Pod | None
) -> None:
    watchers: Watchers[int] = Watchers()
    for number, place in enumerate(wanted):
        watchers.add(number, place)
    for number in gone:
        watchers.discard(number)
    states = [state for state in (old, new) if state is not None]
    expected = [
        number
        for number, place in enumerate(wanted)
        if number not in gone
        and (place is None or any(value_of(state, place[0]) == place[1] for state in states))
    ]

    assert sorted(watchers.concerned(old, new)) == expected
    assert len(watchers) == len(list(watchers)) == len(set(range(len(wanted))) - gone)
