"""`/metrics`: the text form, and what a running server counts."""

from __future__ import annotations

import re

import pytest

from tests.server.starting import send, started
from timonel.aio.histogram import Histogram
from timonel.server.chain.info import parse
from timonel.server.metrics.requests import Requests, scope_of, verb_of
from timonel.server.metrics.text import COUNTER, HISTOGRAM, STABLE, Family, one, rendered

MAPS = "/api/v1/namespaces/default/configmaps"
NUMBER = r"(-?[0-9.]+(e[+-]?[0-9]+)?|\+Inf|NaN)"
LABELS = r"(\{([a-z_]+=\"([^\"\\\n]|\\.)*\",?)*\})?"
LINE = re.compile(rf"(# (HELP|TYPE) [a-z_]+ .*|[a-zA-Z_:]+{LABELS} {NUMBER})")


def test_a_counter_as_text() -> None:
    family = Family("a_total", COUNTER, "What it is.", [((("x", 'q"\\\n'),), 3)], stability=STABLE)

    assert rendered([family]) == (
        b'# HELP a_total [STABLE] What it is.\n# TYPE a_total counter\na_total{x="q\\"\\\\\\n"} 3\n'
    )


def test_a_histogram_as_text_is_cumulative() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.add(value)
    text = rendered([Family("b", HISTOGRAM, "h", histograms=[((), histogram)])]).decode()

    assert 'b_bucket{le="0.1"} 2\nb_bucket{le="1"} 3\nb_bucket{le="+Inf"} 4\nb_sum 7.65\nb_count 4\n' in text


def test_families_are_sorted_and_empty_ones_left_out() -> None:
    families = [Family("b", COUNTER, "", one(1)), Family("c", COUNTER, ""), Family("a", COUNTER, "", one(1))]

    assert re.findall(r"# TYPE (\w)", rendered(families).decode()) == ["a", "b"]


@pytest.mark.parametrize(
    ("method", "path", "query", "verb", "scope"),
    [
        ("GET", f"{MAPS}/a", "", "GET", "resource"),
        ("GET", MAPS, "", "LIST", "namespace"),
        ("GET", "/api/v1/configmaps", "watch=1", "WATCH", "cluster"),
        ("POST", MAPS, "", "POST", "namespace"),
        ("PUT", f"{MAPS}/a", "", "PUT", "resource"),
        ("DELETE", MAPS, "", "DELETECOLLECTION", "namespace"),
        ("POST", "/api/v1/namespaces/a/pods/b/exec", "", "CONNECT", "resource"),
        ("GET", "/api/v1/namespaces/a/pods/b/log", "", "GET", "resource"),
        ("GET", "/version", "", "GET", ""),
        ("BREW", "/version", "", "other", ""),
    ],
)
def test_verbs_and_scopes_are_upstreams(method: str, path: str, query: str, verb: str, scope: str) -> None:
    info = parse(method, path, query)

    assert (verb_of(info), scope_of(info)) == (verb, scope)


def test_what_is_not_served_has_no_labels_of_its_own() -> None:
    requests = Requests()
    meters = {
        id(requests.meter(parse("GET", f"/apis/x{n}.io/v1/things{n}", ""), served=False)) for n in range(50)
    }

    assert len(meters) == 1


@pytest.mark.looptime(False)
async def test_a_running_server_counts() -> None:
    async with started() as server:
        await send(server, "POST", MAPS, {"metadata": {"name": "a"}})
        for _ in range(3):
            await send(server, "GET", f"{MAPS}/a")
        await send(server, "GET", f"{MAPS}/none")
        await send(server, "GET", MAPS, token="wrong")
        answer = await send(server, "GET", "/metrics")
        page = answer.body

        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert [line for line in page.splitlines() if not LINE.fullmatch(line)] == []
        what = 'group="",version="v1",resource="configmaps",subresource="",scope="resource",component="apiserver"'
        got = f'verb="GET",{what}'
        assert f'apiserver_request_total{{{got},code="200",dry_run=""}} 3\n' in page
        assert f'apiserver_request_total{{{got},code="404",dry_run=""}} 1\n' in page
        assert f'apiserver_request_duration_seconds_count{{{got},dry_run=""}} 4\n' in page
        assert f"apiserver_response_sizes_count{{{got}}} 4\n" in page
        assert re.search(r'apiserver_request_total\{[^}]*code="401"[^}]*\} 1\n', page)
        # the first is kube-root-ca.crt, if anybody makes it
        assert re.search(r'apiserver_resource_objects\{group="",resource="configmaps"\} [12]\n', page)
        created = 'operation="create",group="",resource="configmaps"'
        assert re.search(rf"etcd_request_duration_seconds_count\{{{created}\}} [12]\n", page)
        assert 'authentication_attempts{result="failure"} 1\n' in page
        assert re.search(r'authorization_attempts_total\{result="allowed"\} \d+\n', page)
        for name in (
            "process_resident_memory_bytes", "process_open_fds", "kubernetes_build_info",
            "apiserver_admission_step_admission_duration_seconds_count", "apiserver_current_inflight_requests",
            "apiserver_flowcontrol_nominal_limit_seats", "apiserver_flowcontrol_dispatched_requests_total",
        ):  # fmt: skip
            assert f"\n{name}" in page


@pytest.mark.looptime(False)
async def test_metrics_are_for_those_who_may_read_them() -> None:
    async with started() as server:
        assert (await send(server, "GET", "/metrics", token="bobs")).status == 403
