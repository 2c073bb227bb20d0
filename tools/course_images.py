"""Builds the images that the course names from Debian packages, and fills a local registry with them.

Where no public registry can be reached, a local one stands in for docker.io (`timonel image mirror docker.io URL`).
Images are made without a container engine: the files of the packages and of all they depend on go straight from the
packages into a layer, with the few files of our own beside them; nothing of a package's installation scripts runs.

    python tools/course_images.py build DIR             one OCI layout an image below DIR; what is there is kept
    python tools/course_images.py push DIR HOST:PORT    copies all of them into a registry (skopeo)
    python tools/course_images.py serve DIR HOST:PORT   runs docker-registry in the foreground on an address, filled
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from timonel.node import oci

SHELL = ("dash", "bash", "coreutils", "sed", "grep", "findutils", "hostname")

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
mysql:x:999:999:MySQL:/var/lib/mysql:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = "root:x:0:\nadm:x:4:\nwww-data:x:33:\nmysql:x:999:\nnogroup:x:65534:\n"

NGINX_CONF = """\
worker_processes 1;
pid /run/nginx.pid;
error_log stderr notice;
events { worker_connections 256; }
http {
  include /etc/nginx/mime.types;
  access_log /dev/stdout;
  server {
    listen 80 default_server;
    listen 3000 default_server;
    root /usr/share/nginx/html;
    add_header X-Image-Tag TAG always;
  }
}
"""

MARIADB_CONF = """\
[mysqld]
datadir = /var/lib/mysql
socket = /run/mysqld/mysqld.sock
pid-file = /run/mysqld/mysqld.pid
bind-address = 0.0.0.0
skip-name-resolve
innodb_buffer_pool_size = 32M
[client]
socket = /run/mysqld/mysqld.sock
!includedir /etc/mysql/conf.d/
"""

# Initialises an empty data directory, gives root its password, then becomes the server.
MARIADB_ENTRYPOINT = """\
#!/bin/sh
set -eu
if [ ! -d /var/lib/mysql/mysql ]; then
    : "${MYSQL_ROOT_PASSWORD:?set MYSQL_ROOT_PASSWORD}"
    mariadb-install-db --datadir=/var/lib/mysql --auth-root-authentication-method=normal --skip-test-db >/dev/null
    printf "FLUSH PRIVILEGES;\\nALTER USER root@localhost IDENTIFIED BY '%s';\\n\\
CREATE USER root@'%%' IDENTIFIED BY '%s';\\nGRANT ALL ON *.* TO root@'%%' WITH GRANT OPTION;\\n" \\
        "$MYSQL_ROOT_PASSWORD" "$MYSQL_ROOT_PASSWORD" | mariadbd --bootstrap --datadir=/var/lib/mysql
fi
exec mariadbd "$@"
"""


@dataclass(frozen=True)
class Image:
    """What goes into an image. `files` are (path, mode, text), `links` (path, target), `folders` (path, mode)."""

    repository: str
    tag: str
    packages: tuple[str, ...]
    config: dict[str, object]
    files: tuple[tuple[str, int, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    folders: tuple[tuple[str, int], ...] = ()
    skip: tuple[str, ...] = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/")
    env: tuple[str, ...] = (oci.PATH_ENV,)

    @property
    def name(self) -> str:
        return f"{self.repository}:{self.tag}"


def busybox_links() -> tuple[tuple[str, str], ...]:
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    return tuple((f"bin/{a}", "busybox") for a in applets if a != "busybox")


def nginx(tag: str) -> Image:
    return Image(
        "library/nginx",
        tag,
        (*SHELL, "nginx-light"),
        {"Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}}},
        files=(
            ("etc/nginx/nginx.conf", 0o644, NGINX_CONF.replace("TAG", tag)),
            ("usr/share/nginx/html/index.html", 0o644, f"<h1>Welcome to nginx!</h1>\n<p>{tag}</p>\n"),
        ),
        folders=(("var/lib/nginx", 0o755), ("var/log/nginx", 0o755), ("run", 0o755)),
    )


def images() -> list[Image]:
    """The images of the course, and a second nginx to roll to."""
    return [
        Image("library/busybox", "latest", ("busybox-static",), {"Cmd": ["sh"]}, links=busybox_links()),
        nginx("1.18.0-alpine"),
        nginx("1.19.0-alpine"),
        Image(
            "library/mariadb",
            "10.5.9",
            (*SHELL, "mariadb-server"),
            {
                "Entrypoint": ["/usr/local/bin/docker-entrypoint.sh"],
                "Volumes": {"/var/lib/mysql": {}},
                "ExposedPorts": {"3306/tcp": {}},
            },
            files=(
                ("etc/mysql/my.cnf", 0o644, MARIADB_CONF),
                ("usr/local/bin/docker-entrypoint.sh", 0o755, MARIADB_ENTRYPOINT),
            ),
            folders=(("run/mysqld", 0o1777), ("var/lib/mysql", 0o1777), ("var/log/mysql", 0o1777)),
        ),
        Image("library/perl", "latest", (*SHELL, "perl", "libmath-bigint-perl"), {"Cmd": ["perl", "-de0"]}),
        Image(
            "prom/node-exporter",
            "v1.1.2",
            ("prometheus-node-exporter",),
            {"Entrypoint": ["/bin/node_exporter"], "ExposedPorts": {"9100/tcp": {}}, "User": "nobody"},
            # The course passes --path.procfs=/host/proc and mounts nothing there; this version insists on finding it.
            links=(
                ("bin/node_exporter", "/usr/bin/prometheus-node-exporter"),
                ("host/proc", "/proc"),
                ("host/sys", "/sys"),
            ),
            folders=(("host", 0o755),),
        ),
    ]


# ---- packages


def download(packages: Iterable[str], folder: Path) -> list[Path]:
    """The packages and all that they depend on, as .deb files in `folder`, whatever this machine has installed."""
    (folder / "partial").mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State::status": "/dev/null",
        "Dir::Cache::archives": str(folder),
        "APT::Install-Recommends": "false",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
    }
    flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    command = ["apt-get", "install", "-y", "-qq", "--download-only", *flags, *packages]
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        subprocess.run(["apt-get", "update", "-qq"], check=True)  # the lists were missing, or old
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return sorted(folder.glob("*.deb"))


def package_files(deb: Path, skip: tuple[str, ...]) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    raw = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for entry in archive:
            entry.name = entry.name.removeprefix("./").strip("/")
            if not entry.name or entry.name == "." or entry.name.startswith(skip):
                continue
            if entry.islnk():
                entry.linkname = entry.linkname.removeprefix("./")
            found = archive.extractfile(entry) if entry.isreg() else None
            yield entry, found.read() if found else None


def rootfs(image: Image, debs: Iterable[Path]) -> bytes:
    """The layer as an uncompressed tar, equal for equal packages."""
    entries: dict[str, tuple[tarfile.TarInfo, bytes | None]] = {}

    def put(path: str, *, mode: int, kind: bytes, data: bytes | None = None, target: str = "") -> None:
        entry = tarfile.TarInfo(path)
        entry.mode, entry.type, entry.linkname, entry.size = mode, kind, target, len(data or b"")
        entries[path] = (entry, data)

    for folder, mode in (("tmp", 0o1777), ("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("root", 0o700)):
        put(folder, mode=mode, kind=tarfile.DIRTYPE)
    for deb in debs:
        for entry, data in package_files(deb, image.skip):
            entry.mtime, entry.uname, entry.gname = 0, "", ""
            if not (entry.isdir() and entry.name in entries):
                entries[entry.name] = (entry, data)
    put("etc/passwd", mode=0o644, kind=tarfile.REGTYPE, data=PASSWD.encode())
    put("etc/group", mode=0o644, kind=tarfile.REGTYPE, data=GROUP.encode())
    for path, mode in image.folders:
        put(path, mode=mode, kind=tarfile.DIRTYPE)
    for path, mode, text in image.files:
        put(path, mode=mode, kind=tarfile.REGTYPE, data=text.encode())
    for path, target in image.links:
        put(path, mode=0o777, kind=tarfile.SYMTYPE, target=target)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        # Folders before what is in them, and hard links after what they name.
        for entry, data in sorted(entries.values(), key=lambda e: (e[0].islnk(), e[0].name)):
            archive.addfile(entry, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


# ---- layouts and registry


def write_layout(folder: Path, image: Image, layer: bytes) -> None:
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {"Env": list(image.env), **image.config}
    files = oci.layout(f"docker.io/{image.name}", [layer], config, arch, level=1)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def layout_of(folder: Path, image: Image) -> Path:
    return folder / "layouts" / image.name.replace("/", "_").replace(":", "_")


def build(folder: Path) -> None:
    for image in images():
        target = layout_of(folder, image)
        recipe = hashlib.sha256(repr(image).encode()).hexdigest()
        stamp = target / "recipe"
        if stamp.exists() and stamp.read_text() == recipe:
            continue
        print(
            f"Building {image.name} from {', '.join(p for p in image.packages if p not in SHELL)}", flush=True
        )
        debs = download(image.packages, folder / "packages" / target.name)
        write_layout(target, image, rootfs(image, debs))
        stamp.write_text(recipe)


def push(folder: Path, registry: str) -> None:
    for image in images():
        print(f"Pushing {image.name}", flush=True)
        source, destination = (
            f"oci:{layout_of(folder, image)}:{image.tag}",
            f"docker://{registry}/{image.name}",
        )
        subprocess.run(
            [
                "skopeo",
                "copy",
                "--insecure-policy",
                "--quiet",
                "--dest-tls-verify=false",
                source,
                destination,
            ],
            check=True,
        )


def serve(folder: Path, address: str) -> None:
    config = folder / "registry.yml"
    config.write_text(
        json.dumps(
            {
                "version": 0.1,
                "log": {"level": "warn", "accesslog": {"disabled": True}},
                "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
                "http": {"addr": address},
            }
        )
    )
    log = folder / "registry.log"  # it reports every layer that a push asks for as an error
    with (
        log.open("wb") as output,
        subprocess.Popen(["docker-registry", "serve", str(config)], stderr=output, stdout=output) as registry,
    ):
        try:
            wait_for(f"http://{address}/v2/", registry)
            push(folder, address)
            print(f"Serving {len(images())} images on {address}", flush=True)
            registry.wait()
        finally:
            registry.terminate()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if process.poll() is not None:
            raise SystemExit("docker-registry ended; its message is in registry.log")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise SystemExit(f"docker-registry does not answer at {url}")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with us
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["build", "push", "serve"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("address", nargs="?", help="HOST:PORT of the registry")
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.resolve()
    if arguments.command != "build" and not arguments.address:
        parser.error(f"{arguments.command} needs HOST:PORT")
    build(arguments.folder)
    if arguments.command == "push":
        push(arguments.folder, arguments.address)
    elif arguments.command == "serve":
        serve(arguments.folder, arguments.address)


if __name__ == "__main__":
    main()
