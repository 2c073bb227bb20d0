"""Sets of completion indexes as the API writes them: `1,3-5,7`; and the index a pod stands for.

Upstream: pkg/controller/job/indexed_job_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from timonel.objects import pods
from timonel.objects.meta import Object, annotations_of

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
MOST_FAILURES = 2**31 - 1
# What the server lets a made-up name begin with; it adds five characters.
LONGEST_PREFIX = 58


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def parse(text: str | None, completions: int) -> set[int]:
    """Indexes that a lowered `completions` left behind are dropped."""
    found: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if _is_number(first) and (not last or _is_number(last)):
            found |= set(range(int(first), min(int(last or first), completions - 1) + 1))
    return found


def render(indexes: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(_run(first, last) for first, last in runs)


def _run(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"


def index_of(pod: Object) -> int | None:
    text = annotations_of(pod).get(INDEX, "")
    return int(text) if _is_number(text) else None


def of(some: Iterable[Object]) -> set[int]:
    """The indexes that some pods stand for."""
    return {i for i in map(index_of, some) if i is not None}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def failures_of(pod: Object) -> int:
    return _counted(pod, FAILURES)


def ignored_failures_of(pod: Object) -> int:
    return _counted(pod, IGNORED_FAILURES)


def all_failures_of(pod: Object) -> int:
    return failures_of(pod) + ignored_failures_of(pod)


def _counted(pod: Object, name: str) -> int:
    text = annotations_of(pod).get(name, "")
    found = int(text) if _is_number(text) else 0
    return found if found <= MOST_FAILURES else 0


def name_prefix(job: Object, index: int) -> str:
    """What the names of an index's pods begin with; the job's name is cut so that the index stays readable."""
    tail = f"-{index}-"
    name: str = job["metadata"]["name"]
    return name[: LONGEST_PREFIX - len(tail)] + tail


def first_pending(job: Object, taken: Iterable[int], count: int) -> list[int]:
    used = set(taken)
    free = (i for i in range(job["spec"].get("completions", 0)) if i not in used)
    return [i for _, i in zip(range(count), free, strict=False)]


def duplicates(job: Object, active: Sequence[Object], done: set[int]) -> list[Object]:
    """Active pods whose index is done, out of range, or already served by a better pod."""
    surplus: list[Object] = []
    best: dict[int, Object] = {}
    for pod in reversed(pods.least_advanced_first(active)):
        index = index_of(pod)
        if index is None or index >= job["spec"].get("completions", 0) or index in done or index in best:
            surplus.append(pod)
        else:
            best[index] = pod
    return surplus
