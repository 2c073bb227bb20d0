"""The application of `scripts/demo`: two web servers behind a Service, reached through a node port.

With real containers the image is made here, from Debian's static busybox, and imported; no registry is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from timonel.aio.clock import SystemClock
from timonel.client import kubeconfig
from timonel.client.discovery import builtin
from timonel.client.https import HttpsTransport
from timonel.client.rest import Client
from timonel.machinery.errors import AlreadyExists
from timonel.node import oci
from timonel.objects.meta import Key, Object

IMAGE = "localhost/timonel-demo:1"
PAGE = """\
<!doctype html>
<title>Timonel</title>
<h1>It sails.</h1>
<p>Served by a pod of a Kubernetes cluster in Python.</p>
"""
NAME = Key("default", "hello")


def deployment(*, real: bool) -> Object:
    """Nothing is pulled where the image was imported; a simulated node has every image that it asks for."""
    labels = {"app": NAME.name}
    container = {
        "name": "web",
        "image": IMAGE,
        "imagePullPolicy": "Never" if real else "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME.name, "namespace": NAME.namespace, "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def service() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME.name, "namespace": NAME.namespace},
        "spec": {
            "type": "NodePort",
            "selector": {"app": NAME.name},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }


def image_archive() -> bytes:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("error: busybox is not installed: apt-get install busybox-static")
    entries = [
        oci.Entry("bin", "d"),
        oci.Entry("bin/busybox", data=Path(busybox).read_bytes()),
        oci.Entry("www", "d"),
        oci.Entry("www/index.html", mode=0o644, data=PAGE.encode()),
        *(
            oci.Entry(f"bin/{applet}", "l", 0o777, b"busybox")
            for applet in ("sh", "httpd", "ls", "cat", "wget")
        ),
    ]
    config = {"Cmd": ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"], "Env": [oci.PATH_ENV]}
    return oci.archive(oci.layout(IMAGE, [oci.layer(entries)], config))


async def apply(client: Client, *, real: bool) -> None:
    for resource, obj in (("deployments.apps", deployment(real=real)), ("services", service())):
        try:
            await client.create(resource, obj)
        except AlreadyExists:
            continue


async def wait_ready(client: Client) -> int:
    """Waits for both replicas; the node port."""
    version = ""
    while True:
        found = await client.get("deployments.apps", NAME)
        if found.get("status", {}).get("readyReplicas", 0) >= 2:
            break
        version = found["metadata"]["resourceVersion"]
        watch = client.watch("deployments.apps", NAME.namespace, resource_version=version)
        async for event in watch:
            if event.type == "MODIFIED" and event.object["metadata"]["name"] == NAME.name:
                break
    port: int = (await client.get("services", NAME))["spec"]["ports"][0]["nodePort"]
    return port


async def node_address(client: Client) -> str:
    nodes = (await client.list("nodes")).items
    return next(str(a["address"]) for a in nodes[0]["status"]["addresses"] if a["type"] == "InternalIP")


def fetch(url: str) -> str:
    last: Exception | None = None
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError, TimeoutError) as exc:
            last = exc
            time.sleep(0.1)
    raise SystemExit(f"error: {url} does not answer: {last}")


def import_image(arguments: argparse.Namespace) -> None:
    print("==> Importing an image made of Debian's busybox")
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(image_archive())
        file.flush()
        command = [arguments.timonel, "image", "import", "--name", arguments.name, file.name]
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
            raise SystemExit("error: the image could not be imported; the reason is above")


async def run(arguments: argparse.Namespace) -> None:
    clock = SystemClock()
    transport = HttpsTransport(kubeconfig.load().endpoint(), clock)
    client = Client(transport, builtin())
    real = arguments.runtime == "containerd"
    try:
        print("==> Starting two web servers behind a Service")
        await apply(client, real=real)
        async with asyncio.timeout(90):
            port = await wait_ready(client)
            address = await node_address(client)
    finally:
        await transport.close()
    if real:
        url = f"http://{address}:{port}/"
        print(f"==> {url} answers: {fetch(url).split('<h1>')[1].split('</h1>')[0]}")
        print("\nThe application runs in containers and is reachable from this machine:")
        print(f"  curl {url}")
    else:
        print(
            "\nNot root, or something is missing (timonel doctor): the nodes are simulated. The pods are Running and"
        )
        print("Ready as far as the cluster knows, but nothing runs in them and nothing answers.")
    print("\nHow to go on:")
    print(f"  export KUBECONFIG={json.loads(status(arguments))['kubeconfig']}")
    print("  kubectl get pods -o wide")
    print("  kubectl scale deployment hello --replicas 5")
    print("  scripts/demo --down")


def status(arguments: argparse.Namespace) -> str:
    command = [arguments.timonel, "status", "--name", arguments.name, "-o", "json"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--timonel", required=True)
    arguments = parser.parse_args()
    if arguments.runtime == "containerd":
        import_image(arguments)
    try:
        asyncio.run(run(arguments))
    except TimeoutError:
        sys.exit("error: the application was not ready after 90 seconds; kubectl describe pods says why")


if __name__ == "__main__":
    main()
