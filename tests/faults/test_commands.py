"""What people do wrong and what breaks around a cluster: one clear message, its remedy, the right exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.servers import ServerProcess, running, timonel
from timonel.aio.clock import SystemClock
from timonel.distro.pki import Authority

REFUSED, WRONG_USE = 1, 2


def check(done: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    assert "Traceback" not in done.stdout, done.stdout
    assert done.returncode == code, done.stdout
    for text in texts:
        assert text in done.stdout, done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running(tmp_path_factory.mktemp("commands")) as server:
        yield server


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        ("status --name nobody", REFUSED, ["there is no cluster 'nobody'", "Start it: timonel up --name nobody"]),
        ("down --name nobody", REFUSED, ["there is no cluster 'nobody'"]),
        ("kubeconfig --name nobody", REFUSED, ["there is no cluster 'nobody'", "timonel up"]),
        ("up --runtime docker", WRONG_USE, ["'docker' is not one of", "simulated"]),
        ("up --components api,kitchen", REFUSED, ["unknown component 'kitchen'; there are: api, controllers"]),
        ("up --components node", REFUSED, ["the API server (component `api`) is needed"]),
        ("up --name ../a", REFUSED, ["cannot be the name of a cluster", "--name two"]),
        ("up --name Upper", REFUSED, ["'Upper' cannot be the name of a cluster", "lower-case letters"]),
        (f"up --name {'x' * 300}", REFUSED, ["cannot be the name of a cluster", "at most 50 lower-case"]),
        ("up --port 70000", WRONG_USE, ["70000 is not in the range"]),
        ("up --ports 1", WRONG_USE, ["No such option", "--port"]),
        ("upp", WRONG_USE, ["There is no command 'upp'", "up"]),
        ("up --data-dir /proc/nowhere --runtime simulated", REFUSED, ["/proc/nowhere", "--data-dir DIR"]),
        ("image mirror docker.io", REFUSED, ["there is no cluster"]),
    ],
)  # fmt: skip
def test_wrong_use_is_explained(tmp_path: Path, arguments: str, code: int, texts: list[str]) -> None:
    done = timonel(*arguments.split(), env={"TIMONEL_DATA_DIR": str(tmp_path)})

    check(done, code, *texts)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = timonel(
            "up", "--data-dir", str(tmp_path), "--runtime", "simulated", "--port", str(port)
        )  # fmt: skip

    check(done, REFUSED, f"port {port} on 127.0.0.1 is taken by another process", "--port 0")
    assert list(tmp_path.iterdir()) == [], "nothing is left of a cluster that did not come to be"


def test_a_port_that_is_taken_when_the_server_comes_to_it(tmp_path: Path) -> None:
    (tmp_path / "late").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {"name": "late", "port": taken.getsockname()[1], "components": ["api"]}
        (tmp_path / "late" / "cluster.json").write_text(json.dumps(settings))

        done = timonel("server", "--name", "late", "--data-dir", str(tmp_path))

    check(done, REFUSED, "its port is taken by another process: ", "ddress already in use", "--port 0")


def test_real_containers_where_something_is_missing(tmp_path: Path) -> None:
    """Nothing is on the PATH; as root that is the first thing missing, else it is root."""
    done = timonel(
        "up", "--data-dir", str(tmp_path), "--runtime", "containerd", "--port", "0", env={"PATH": str(tmp_path)}
    )  # fmt: skip

    check(done, REFUSED, "real containers cannot run here: ", "`timonel doctor`", "--runtime simulated")
    assert ("apt-get install containerd" if os.geteuid() == 0 else "run as root") in done.stdout
    doctor = timonel("doctor", env={"PATH": str(tmp_path)})
    check(doctor, REFUSED, "containerd: not found", "apt-get install containerd", "can only be simulated")


def test_real_containers_without_root(tmp_path: Path) -> None:
    as_user = "import os; os.geteuid = lambda: 1000; from timonel.distro.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", as_user, "up", "--data-dir", str(tmp_path), "--runtime", "containerd"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False,
    )  # fmt: skip

    check(done, REFUSED, "root: running as uid 1000", "run as root, or use --runtime simulated")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "faulty"', "Expecting"),
        ("[]", "it does not hold an object"),
        ("{}", "name is missing"),
        ('{"name": "faulty", "port": "6443"}', "port must be of type int, not str"),
        ('{"name": "faulty", "components": ["api", 3]}', "components must be a list of api"),
        ('{"name": "faulty", "runtime": "docker"}', "runtime must be one of"),
        ('{"name": "faulty", "mirrors": {"a": 1}}', "mirrors must hold texts"),
    ],
)
def test_damaged_settings(tmp_path: Path, text: str, problem: str) -> None:
    settings = tmp_path / "faulty" / "cluster.json"
    settings.parent.mkdir()
    settings.write_text(text)
    where = ("--name", "faulty", "--data-dir", str(tmp_path))
    remedy = f"timonel down --name faulty --data-dir {tmp_path} --delete"

    check(timonel("up", *where), REFUSED, f"{settings} is damaged: ", problem, remedy)
    assert settings.read_text() == text


def test_damaged_settings_hide_no_other_cluster_and_can_be_deleted(tmp_path: Path) -> None:
    for name, text in (("broken", "{"), ("whole", '{"name": "whole", "port": 7000}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cluster.json").write_text(text)
    where = ("--name", "broken", "--data-dir", str(tmp_path))

    found = timonel("status", "--data-dir", str(tmp_path))
    check(found, 0, "broken   damaged", "whole    stopped")
    check(timonel("status", *where), REFUSED, "is damaged")
    check(timonel("down", *where), REFUSED, "is damaged", "--delete")
    check(timonel("down", *where, "--delete", "--yes"), 0, "Deleting")
    assert [p.name for p in tmp_path.iterdir()] == ["whole"]


def test_a_stopped_cluster_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cluster.json").write_text('{"name": "a"}')

    check(timonel("down", "--name", "a", "--data-dir", str(tmp_path)), 0, "Cluster a was not running")
    check(timonel("status", "--name", "a", "--data-dir", str(tmp_path)), REFUSED, "stopped")


def test_what_a_server_cannot_do_without(tmp_path: Path) -> None:
    """Each file that a server cannot start with or make anew, broken in turn; what can be made anew is."""
    with running(tmp_path) as server:
        server.send("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "kept"}})
    remedy = f"timonel down --name faulty --data-dir {tmp_path} --delete"
    for name, text in (
        ("state.db", "the database file is damaged"),
        ("pki/ca.crt", "the cluster's CA"),
        ("pki/sa.key", "the key of service-account tokens"),
        ("pki/encryption.key", "the key of secrets at rest"),
    ):
        file = server.folder / name
        whole = file.read_bytes()
        file.write_bytes(b"no file of this kind" * 300)

        done = timonel("up", *server.where)

        check(done, REFUSED, text, "from a backup", remedy)
        file.write_bytes(whole)
    assert "Traceback" not in server.log
    (server.folder / "pki" / "server.crt").write_text("junk")
    (server.folder / "pki" / "admin.key").write_text("junk")
    server.up()
    try:
        assert server.send("GET", "/api/v1/namespaces/default/configmaps/kept").status == 200
    finally:
        server.down()


def test_two_at_the_same_time_start_one(tmp_path: Path) -> None:
    where = ("--name", "twice", "--data-dir", str(tmp_path))
    command = [sys.executable, "-m", "timonel", "up", *where, "--port", "0", "--runtime", "simulated"]
    both = [
        subprocess.Popen([*command, "--components", "api"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=50)[0].decode() for process in both]
    try:
        codes = sorted(process.returncode for process in both)
        together = "\n".join(said)
        assert "Traceback" not in together
        assert codes == [0, 1] or (codes == [0, 0] and "running already" in together), together
        if codes == [0, 1]:
            assert "is being started by another `timonel up`" in together
        again = timonel("server", *where)
        check(again, REFUSED, "the server of cluster twice runs already")
        check(timonel("up", *where), 0, "running already")
    finally:
        timonel("down", *where)


def test_mirrors(server: ServerProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    silent = timonel("image", "mirror", "docker.io", url, *server.where)

    check(silent, 0, f"warning: no answer from {url}", "cannot be pulled", f"docker.io is served by {url}.")
    settings = json.loads((server.folder / "cluster.json").read_text())
    assert settings["mirrors"] == {"docker.io": url}
    for registry, wrong in (
        ("../etc", url),
        ("docker.io", "ftp://a"),
        ("docker.io", 'http://a"b'),
        ("a", "http://a:x"),
    ):
        check(timonel("image", "mirror", registry, wrong, *server.where), REFUSED)
    assert json.loads((server.folder / "cluster.json").read_text()) == settings
    check(timonel("image", "mirror", "quay.io", "--remove", *server.where), REFUSED, "nothing stands in for")
    check(timonel("image", "import", __file__, *server.where), REFUSED, "simulated: they need no images")


def test_a_turn_of_years_locks_nobody_out(tmp_path: Path) -> None:
    where = ("--name", "old", "--data-dir", str(tmp_path))
    short = Authority(tmp_path / "old" / "pki", now=SystemClock().now())  # as clusters had it before
    short.client("admin", user="kubernetes-admin", groups=["system:masters"])
    try:
        check(timonel("up", *where, "--components", "api", "--clock", "virtual", "--port", "0", "--quiet"), 0)
        for _ in range(2):
            check(timonel("clock", "advance", "20y", *where, "--quiet"), 0)
            check(timonel("clock", "show", *where), 0, "virtual")
        check(timonel("down", *where), 0)
        check(timonel("up", *where, "--quiet"), 0)
        check(timonel("clock", "show", *where), 0, "virtual")
    finally:
        timonel("down", *where, "--delete", "--yes")
