from __future__ import annotations

from timonel.netfilter.elements import Changes
from timonel.netfilter.messages import attribute, message, transaction
from timonel.netfilter.watch import DELTABLE, NEWTABLE, TableChange, table_changes


def told(kind: int, name: str) -> bytes:
    body = attribute(2, b"\0\0\0\0") + attribute(1, name.encode() + b"\0")
    return message(kind, 2, body, flags=0, sequence=1)


def test_tables_that_come_and_go_are_seen_among_all_else() -> None:
    elements = transaction("timonel", Changes(add=(((4, "hairpin", b"\1\2\3\4" * 2), b""),)))
    data = elements + told(DELTABLE, "timonel") + elements + told(NEWTABLE, "other")

    assert table_changes(data) == [TableChange("timonel", False), TableChange("other", True)]


def test_broken_notifications_say_nothing() -> None:
    assert table_changes(told(DELTABLE, "timonel")[:30]) == []
    assert table_changes(b"\0" * 40) == []
