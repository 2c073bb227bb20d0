from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery.patch.merge import merge_patch

trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def test_objects_merge_null_removes_lists_replace() -> None:
    document = {"a": {"x": 1, "y": 2}, "b": [1, 2], "c": 3}

    assert merge_patch(document, {"a": {"x": None, "z": 4}, "b": [3]}) == {
        "a": {"y": 2, "z": 4},
        "b": [3],
        "c": 3,
    }
    assert document == {"a": {"x": 1, "y": 2}, "b": [1, 2], "c": 3}


def without_nulls(tree: object) -> bool:
    if isinstance(tree, dict):
        return all(value is not None and without_nulls(value) for value in tree.values())
    return True


@given(trees, trees)
def test_applying_twice_is_applying_once(document: object, patch: object) -> None:
    once = merge_patch(document, patch)

    assert merge_patch(once, patch) == once


@given(trees.filter(without_nulls), trees.filter(without_nulls))
def test_what_a_patch_without_nulls_says_is_there_afterwards(document: object, patch: object) -> None:
    assert merge_patch(patch, merge_patch(document, patch)) == merge_patch(document, patch)
