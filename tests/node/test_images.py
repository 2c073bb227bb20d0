"""Pulls of images: how many at once, with whose credentials; which images go."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from tests.node.builders import container, pod
from tests.node.fake_api import FakeApi
from tests.node.test_agent import MACHINE, LoopClock
from timonel.aio.clock import Clock
from timonel.aio.threads import Threads
from timonel.client.events import EventRecorder
from timonel.node import credentialconfig, credentialproviders, flags, imagegc
from timonel.node.credentialproviders import CredentialProviders
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import Auth, Image, Runtime
from timonel.node.housekeeping import Housekeeping
from timonel.node.imagenames import fitting, is_below, repository
from timonel.node.imagerecords import PullRecords
from timonel.node.images import Credentials, ImageError, ImageManager
from timonel.node.imagesettings import ImageSettings
from timonel.node.nodestatus import Machine
from timonel.node.tokens import Tokens
from timonel.objects.meta import Object

IMAGE = "registry.example/team/app:1"


class SlowRegistry:
    """Each pull takes a second; `accepts` is the only password that is good, if any."""

    def __init__(self, accepts: str = "") -> None:
        self.accepts = accepts
        self.under_way, self.most = 0, 0
        self.tried = list[Auth | None]()
        self.has = set[str]()

    async def pull_image(self, image: str, auth: Auth | None = None) -> str:
        self.tried.append(auth)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(1)
        finally:
            self.under_way -= 1
        if self.accepts and (auth is None or auth.password != self.accepts):
            raise RuntimeFailure("pull access denied")
        self.has.add(image)
        return image

    async def image_status(self, image: str) -> Image | None:
        return Image(image, size=1) if image in self.has else None

    async def list_images(self) -> Sequence[Image]:
        return [Image(image, size=1) for image in self.has]

    async def remove_image(self, image: str) -> None:
        self.has.discard(image)


def manager(
    registry: SlowRegistry, *, at_once: int = 0, credentials: Credentials | None = None
) -> ImageManager:
    clock = LoopClock()
    records = EventRecorder(FakeApi(clock.now), clock, "kubelet", host="n1")
    runtime = cast("Runtime", registry)
    return ImageManager(runtime, clock, records, at_once=at_once, credentials=credentials)


@pytest.mark.parametrize(("at_once", "most", "seconds"), [(0, 4, 1), (1, 1, 4), (2, 2, 2)])
async def test_so_many_images_are_pulled_at_once(at_once: int, most: int, seconds: float) -> None:
    registry = SlowRegistry()
    images = manager(registry, at_once=at_once)
    begun = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(images.ensure(pod(), container(image=f"app-{number}"), ()))

    assert registry.most == most
    assert asyncio.get_running_loop().time() - begun == pytest.approx(seconds)


async def test_a_pull_that_is_given_up_lets_the_next_one_go() -> None:
    registry = SlowRegistry()
    images = manager(registry, at_once=1)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(images.ensure(pod(), container(image="one"), ()))
        second = group.create_task(images.ensure(pod(), container(image="two"), ()))
        await asyncio.sleep(0.5)
        first.cancel()
        found = await second

    assert found.id == "docker.io/library/two:latest"


async def test_programs_give_credentials_after_the_pod_s_own_secrets() -> None:
    registry = SlowRegistry(accepts="right")

    async def credentials(image: str, whose: Object) -> list[Auth]:
        assert image == IMAGE
        return [Auth("u", "right")]

    entry = {"auths": {"registry.example": {"username": "u", "password": "wrong"}}}
    secret = {"data": {".dockerconfigjson": base64.b64encode(json.dumps(entry).encode()).decode()}}
    await manager(registry, credentials=credentials).ensure(pod(), container(image=IMAGE), [secret])

    assert [auth.password for auth in registry.tried if auth is not None] == ["wrong", "right"]


async def test_without_any_credentials_the_registry_is_asked_as_a_stranger() -> None:
    registry = SlowRegistry(accepts="right")

    async def nothing(image: str, whose: Object) -> list[Auth]:
        return []

    with pytest.raises(ImageError, match="pull access denied"):
        await manager(registry, credentials=nothing).ensure(pod(), container(image=IMAGE), [])

    assert registry.tried == [None]


# ---- names


@pytest.mark.parametrize(
    ("image", "pattern", "fits"),
    [
        ("registry.example/team/app:1", "registry.example", True),
        ("registry.example/team/app:1", "https://registry.example/team", True),
        ("registry.example/team/app:1", "registry.example/team/app", True),
        ("registry.example/team/app:1", "registry.example/tea", False),
        ("a.registry.example/app", "*.registry.example", True),
        ("a.b.registry.example/app", "*.registry.example", False),
        ("registry.example:5000/app", "registry.example", False),
        ("registry.example:5000/app", "registry.example:5000", True),
        ("docker.io/library/busybox:latest", "docker.io", True),
    ],
)
def test_where_an_image_lies(image: str, pattern: str, fits: bool) -> None:
    assert is_below(image, pattern) is fits


def test_the_most_specific_credentials_are_tried_first() -> None:
    entries = [(p, Auth(p)) for p in ("registry.example", "registry.example/team", "other.example")]

    assert [a.username for a in fitting(IMAGE, entries)] == ["registry.example/team", "registry.example"]
    assert repository("registry.example:5000/a/b:1@sha256:" + "0" * 64) == "registry.example:5000/a/b"


# ---- flags


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"image-gc-high-threshold": "70", "image-gc-low-threshold": "60"}, ImageSettings(70, 60)),
        ({"image-maximum-gc-age": "24h"}, ImageSettings(oldest=86400.0)),
        ({"serialize-image-pulls": "true"}, ImageSettings(pulls_at_once=1)),
        ({"serialize-image-pulls": "false", "max-parallel-image-pulls": "3"}, ImageSettings(pulls_at_once=3)),
        (
            {"image-credential-provider-config": "/c", "image-credential-provider-bin-dir": "/b"},
            ImageSettings(providers=Path("/c"), programs=Path("/b")),
        ),
    ],
)
def test_flags_of_images(given: dict[str, str], found: ImageSettings) -> None:
    assert flags.changes(given) == {"images": found}


@pytest.mark.parametrize(
    "given",
    [
        {"image-gc-high-threshold": "101"},
        {"image-gc-low-threshold": "85"},
        {"image-gc-low-threshold": "-1"},
        {"image-gc-high-threshold": "most"},
        {"image-maximum-gc-age": "1m"},
        {"minimum-image-ttl-duration": "-1m"},
        {"max-parallel-image-pulls": "0"},
        {"max-parallel-image-pulls": "2", "serialize-image-pulls": "true"},
        {"serialize-image-pulls": "maybe"},
        {"image-credential-provider-config": "/c"},
        {"image-pull-credentials-verification-policy": "Sometimes"},
    ],
)
def test_flags_of_images_that_make_no_sense(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="image"):
        flags.changes(given)


# ---- collection


def test_a_threshold_of_all_of_the_disk_is_none() -> None:
    assert imagegc.bytes_to_free(1000, 0, ImageSettings(high=100)) == 0
    assert imagegc.bytes_to_free(1000, 400, ImageSettings(high=60, low=50)) == 100


@pytest.mark.parametrize(
    ("settings", "disk_available", "minutes", "left", "reasons"),
    [
        (ImageSettings(), 10, 60, {"old"}, []),
        (ImageSettings(oldest=600.0), 10, 5, {"old"}, []),
        (ImageSettings(oldest=600.0), 10, 20, set(), []),
        (ImageSettings(), 1, 1, {"old"}, ["FreeDiskSpaceFailed"]),
        (ImageSettings(), 1, 10, set(), ["FreeDiskSpaceFailed"]),
    ],
)
async def test_what_becomes_of_an_image_that_nobody_uses(
    settings: ImageSettings, disk_available: int, minutes: int, left: set[str], reasons: list[str]
) -> None:
    registry = SlowRegistry()
    registry.has = {"old"}
    said = list[str]()

    class Records:
        def record(self, obj: Object, kind: str, reason: str, message: str) -> None:
            said.append(reason)

    async def machine() -> Machine:
        return replace(MACHINE, disk=10, disk_available=disk_available)

    threads = Threads("test", 1)
    chores = Housekeeping(
        cast("Runtime", registry),
        LoopClock(),
        threads,
        list,
        machine,
        settings,
        (cast("EventRecorder", Records()), dict),
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(chores.run())
        await asyncio.sleep(minutes * 60 + 30)
        task.cancel()
    threads.close()

    assert registry.has == left
    assert sorted(set(said)) == reasons


# ---- programs


def provider(**fields: Any) -> dict[str, Any]:
    return {
        "name": "helper",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "matchImages": ["*.example"],
        "defaultCacheDuration": "1h",
        **fields,
    }


def config(*providers: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "CredentialProviderConfig",
        "apiVersion": "kubelet.config.k8s.io/v1",
        "providers": list(providers),
    }


TOKEN = {"serviceAccountTokenAudience": "aud", "requireServiceAccount": True, "cacheType": "ServiceAccount"}


@pytest.mark.parametrize(
    ("tree", "complaint"),
    [
        ([], "wrong Kind"),
        ({**config(provider()), "kind": "Other"}, "wrong Kind"),
        ({**config(provider()), "apiVersion": "v1"}, "unexpected Group: v1"),
        (config(), "at least 1 item in plugins"),
        ({**config(), "providers": {"a": 1}}, "not a list"),
        (config(provider(), provider()), 'duplicate provider name "helper"'),
        (config(provider(name="../helper")), "not the name of a program"),
        (config(provider(apiVersion="v1")), "Unsupported value"),
        (config(provider(apiVersion="")), "apiVersion: Required value"),
        (config(provider(matchImages=[])), "at least 1 item in matchImages"),
        (config(provider(defaultCacheDuration=None)), "defaultCacheDuration: Required value"),
        (config(provider(defaultCacheDuration="-1s")), "greater than or equal to 0"),
        (config(provider(defaultCacheDuration="long")), "invalid duration"),
        (config(provider(env=[{"value": "x"}])), "not of the right shape"),
        (config(provider(tokenAttributes={})), "serviceAccountTokenAudience: Required value"),
        (config(provider(tokenAttributes={**TOKEN, "cacheType": "None"})), "Supported values"),
        (
            config(
                provider(
                    tokenAttributes={
                        **TOKEN,
                        "requireServiceAccount": False,
                        "requiredServiceAccountAnnotationKeys": ["a"],
                    }
                )
            ),
            "cannot be false",
        ),
        (
            config(
                provider(
                    tokenAttributes={
                        **TOKEN,
                        "requiredServiceAccountAnnotationKeys": ["a"],
                        "optionalServiceAccountAnnotationKeys": ["a"],
                    }
                )
            ),
            "both required and optional",
        ),
        (
            config(
                provider(
                    apiVersion="credentialprovider.kubelet.k8s.io/v1beta1",
                    tokenAttributes=TOKEN,
                )
            ),
            "only supported for",
        ),
    ],
)
def test_configurations_that_make_no_sense(tree: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        credentialconfig.parse([tree])


def test_configurations_are_read_from_all_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    for name in ("b", "a"):
        (tmp_path / "conf" / f"{name}.yaml").write_text(yaml.safe_dump(config(provider(name=name))))
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "conf" / "notes.txt").write_text("not read")

    found = credentialproviders.read(tmp_path / "conf", tmp_path)

    assert [p.name for p in found] == ["a", "b"]
    (tmp_path / "a").unlink()
    with pytest.raises(ValueError, match="a did not exist"):
        credentialproviders.read(tmp_path / "conf", tmp_path)
    with pytest.raises(ValueError, match="cannot be used"):
        credentialproviders.read(tmp_path / "nowhere.yaml", tmp_path)


class Helper:
    """A program of the test's, which writes down what it is asked."""

    def __init__(self, folder: Path, clock: Clock, api: FakeApi, **fields: Any) -> None:
        self.folder, self.api = folder, api
        found = credentialconfig.parse([config(provider(args=["give"], **fields))])
        self.providers = CredentialProviders(found, folder, api, Tokens(api, clock), clock)

    def answers(self, script: str = "", **fields: Any) -> None:
        answer = {
            "kind": "CredentialProviderResponse",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "cacheKeyType": "Registry",
            "auth": {"*.example": {"username": "user", "password": "secret"}},
            **fields,
        }
        (self.folder / "answer").write_text(json.dumps(answer))
        script = (
            script or f"echo $1 >> {self.folder}/asked; cat >> {self.folder}/asked; cat {self.folder}/answer"
        )
        (self.folder / "helper").write_text(f"#!/bin/sh\n{script}\n")
        (self.folder / "helper").chmod(0o755)

    def asked(self) -> list[str]:
        path = self.folder / "asked"
        return path.read_text().split("give\n")[1:] if path.exists() else []

    async def give(self, image: str = "reg.example/a:1", **spec: Any) -> list[tuple[str, str]]:
        found = await self.providers.credentials(image, pod(**spec))
        return [(auth.username, auth.password) for auth in found]


real_time = pytest.mark.looptime(False)


@pytest.fixture
def clock() -> LoopClock:
    return LoopClock()


@pytest.fixture
def helper(tmp_path: Path, clock: LoopClock) -> Helper:
    found = Helper(tmp_path, clock, FakeApi(clock.now))
    found.answers()
    return found


@real_time
async def test_a_program_is_asked_for_the_images_it_knows(helper: Helper) -> None:
    assert await helper.give() == [("user", "secret")]
    assert await helper.give("other.org/a:1") == []
    assert [json.loads(text) for text in helper.asked()] == [
        {
            "kind": "CredentialProviderRequest",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "image": "reg.example/a",
        }
    ]


@real_time
@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"cacheKeyType": "Image"}, 3),
        ({"cacheKeyType": "Registry"}, 2),
        ({"cacheKeyType": "Global"}, 1),
        ({"cacheKeyType": "Global", "cacheDuration": "0s"}, 4),
        ({"cacheKeyType": "Global", "cacheDuration": "10m"}, 1),
    ],
)
async def test_answers_are_remembered_as_long_and_for_what_they_say(
    helper: Helper, fields: dict[str, Any], asked: int
) -> None:
    helper.answers(**fields)
    for image in ("reg.example/a:1", "reg.example/a:2", "reg.example/b:1", "two.example/a:1"):
        await helper.give(image)

    assert len(helper.asked()) == asked


@real_time
@pytest.mark.parametrize(
    ("script", "fields"),
    [
        ("exit 1", {}),
        ("echo nothing", {}),
        ("echo '[]'", {}),
        ("", {"kind": "Other"}),
        ("", {"apiVersion": "credentialprovider.kubelet.k8s.io/v1beta1"}),
        ("", {"cacheKeyType": "Always"}),
        ("", {"auth": ["x"]}),
        ("", {"cacheDuration": "long"}),
    ],
)
async def test_a_program_that_fails_gives_nothing_and_is_asked_again(
    helper: Helper, script: str, fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    helper.answers(script, **fields)
    failed = await helper.give()
    helper.answers()

    assert failed == []
    assert await helper.give() == [("user", "secret")]
    assert "secret" not in caplog.text


@real_time
async def test_a_program_that_hangs_is_killed(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentialproviders, "PATIENCE", 0.1)
    helper.answers("exec sleep 100")

    assert await helper.give() == []


@real_time
async def test_pulls_of_one_image_ask_once(helper: Helper) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(helper.give()) for _ in range(3)]

    assert [task.result() for task in tasks] == [[("user", "secret")]] * 3
    assert len(helper.asked()) == 1


@real_time
async def test_a_program_may_ask_for_the_service_account_s_token(tmp_path: Path, clock: LoopClock) -> None:
    api = FakeApi(clock.now)
    wish = {**TOKEN, "requiredServiceAccountAnnotationKeys": ["team"]}
    helper = Helper(tmp_path, clock, api, tokenAttributes=wish)
    helper.answers(cacheKeyType="Global")
    meta = {"namespace": "default", "name": "builder", "annotations": {"team": "a", "more": "b"}}
    api.put("serviceaccounts", {"metadata": meta})
    api.put("serviceaccounts", {"metadata": {"namespace": "default", "name": "plain"}})

    given = await helper.give(serviceAccountName="builder")
    again = await helper.give(serviceAccountName="builder")
    without_annotation = await helper.give(serviceAccountName="plain")
    missing = await helper.give(serviceAccountName="gone")
    nobody = await helper.give()

    assert given == again == [("user", "secret")]
    assert without_annotation == missing == nobody == []
    [request] = [json.loads(text) for text in helper.asked()]
    assert request["serviceAccountAnnotations"] == {"team": "a"}
    assert request["serviceAccountToken"]


# ---- who may use what is there


def secret(password: str, uid: str = "", name: str = "s") -> Object:
    config = {"auths": {"registry.example": {"username": "u", "password": password}}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()}
    return {"metadata": {"uid": uid, "namespace": "default", "name": name}, "data": data}


class Shared:
    """A node's images, whose records outlive the manager."""

    def __init__(
        self, file: Path, policy: str = "NeverVerifyPreloadedImages", accepts: str = "right"
    ) -> None:
        self.file, self.policy = file, policy
        self.registry = SlowRegistry(accepts)

    async def use(self, *secrets: Object, policy: str = "IfNotPresent", image: str = IMAGE) -> str:
        """`pulled`, `there`, or why not."""
        records = PullRecords(self.file, self.policy)
        records.open()
        clock = LoopClock()
        events = EventRecorder(FakeApi(clock.now), clock, "kubelet", host="n1")
        images = ImageManager(cast("Runtime", self.registry), clock, events, pulls=records)
        before = len(self.registry.tried)
        try:
            await images.ensure(pod(), container(image=image, imagePullPolicy=policy), secrets)
        except ImageError as e:
            return e.reason
        return "pulled" if len(self.registry.tried) > before else "there"


async def test_who_could_not_have_pulled_an_image_does_not_get_it(tmp_path: Path) -> None:
    node = Shared(tmp_path / "pulls")

    assert await node.use(secret("right", "u1")) == "pulled"
    assert await node.use(secret("right", "u1")) == "there"
    assert await node.use(secret("right", "u2", "copy")) == "there"  # the same password in another secret
    assert await node.use(secret("newer", "u1")) == "there"  # the same secret, whose password was changed
    assert await node.use() == "ErrImagePull"
    assert await node.use(secret("wrong", "u3", "other")) == "ErrImagePull"
    assert await node.use(policy="Never") == "ErrImageNeverPull"
    assert await node.use(secret("right", "u1"), policy="Never") == "there"


async def test_what_was_pulled_by_a_stranger_is_everybody_s(tmp_path: Path) -> None:
    node = Shared(tmp_path / "pulls", accepts="")

    assert [await node.use(), await node.use(), await node.use(secret("any", "u1"))] == [
        "pulled",
        "there",
        "there",
    ]


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        ("NeverVerify", "there"),
        ("NeverVerifyPreloadedImages", "there"),
        ("AlwaysVerify", "ErrImagePull"),
    ],
)
async def test_what_was_imported_is_everybody_s_unless_all_is_verified(
    tmp_path: Path, policy: str, found: str
) -> None:
    node = Shared(tmp_path / "pulls", policy)
    node.registry.has.add(IMAGE)

    assert await node.use() == found


async def test_nothing_is_verified_where_that_is_wanted(tmp_path: Path) -> None:
    node = Shared(tmp_path / "pulls", "NeverVerify")

    assert [await node.use(secret("right", "u1")), await node.use()] == ["pulled", "there"]


async def test_an_agent_that_dies_in_a_pull_gives_nothing_away(tmp_path: Path) -> None:
    node = Shared(tmp_path / "pulls")
    records = PullRecords(node.file, node.policy)
    records.begin(IMAGE)
    node.registry.has.add(IMAGE)  # it was pulled, and nobody wrote down with what

    assert await node.use() == "ErrImagePull"
    node.registry.has.add(IMAGE)
    assert await node.use(secret("right", "u1")) == "pulled"
    assert await node.use(secret("right", "u1")) == "there"


def test_records_of_images_that_are_gone_go_too(tmp_path: Path) -> None:
    records = PullRecords(tmp_path / "pulls", "NeverVerifyPreloadedImages")
    records.pulled(IMAGE, "id", None, 1000.0)
    records.keep(set(), 1100.0)
    young = records.is_open("registry.example/team/app:2", "id")
    records.keep(set(), 2000.0)
    again = PullRecords(tmp_path / "pulls", "AlwaysVerify")
    again.open()

    assert young is True
    assert again.is_open(IMAGE, "id") is False
