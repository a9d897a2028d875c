"""A real registry for tests: Debian's `docker-registry`, with images that are made of this machine's programs."""

import gzip
import hashlib
import http.client
import io
import json
import platform
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SOON

NEEDS_REGISTRY = pytest.mark.skipif(
    shutil.which("docker-registry") is None,
    reason="needs docker-registry (Debian: docker-registry)",
)

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGE_CONFIGURATION = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

PROGRAMS = ("sh", "true", "echo", "sleep")
"""What an image can run, from /bin of this machine."""

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""This machine's, as images name it."""

_CONFIGURATION = """\
version: 0.1
storage:
  filesystem: {{rootdirectory: {folder}/storage}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:0"}}
"""
_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")
_ACCESS = re.compile(r'\] "(?P<method>\S+) (?P<target>.*) HTTP/[\d.]+" (?P<status>\d+) ')


@dataclass(frozen=True, slots=True)
class Requested:
    """One request that the registry has answered; the target is the path with the query, as it came."""

    method: str
    target: str
    status: int


class Registry:
    """A registry on a loopback port, for anybody to read and write."""

    def __init__(self, address: str, access_log: Path) -> None:
        self.address = address
        self._access_log = access_log
        self._markers = (f"/v2/?marker={number}" for number in count())

    @property
    def url(self) -> str:
        """Where it answers, as clients want it."""
        return f"http://{self.address}"

    @property
    def requests(self) -> tuple[Requested, ...]:
        """What it was asked until now, in the order in which it answered, without what this class asks itself."""
        marker = next(self._markers)
        self.ask("GET", marker)
        deadline = time.monotonic() + SOON
        while marker not in (log := self._access_log.read_text()):
            assert time.monotonic() < deadline, f"no {marker} in the access log:\n{log}"
            time.sleep(0.005)
        found = (_ACCESS.search(line) for line in log.splitlines() if "pullgate-tests" not in line)
        return tuple(Requested(match["method"], match["target"], int(match["status"])) for match in found if match)

    def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """A request of the tests' own, which does not count among `requests`."""
        connection = http.client.HTTPConnection(self.address, timeout=SOON)
        try:
            connection.request(method, target, body, {"User-Agent": "pullgate-tests", **(headers or {})})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def push(self, repository: str, tag: str = "latest", *, command: tuple[str, ...] = ("/bin/true",)) -> str:
        """Push an image of this machine's architecture that no other repository or tag has, and give its digest."""
        layer = _layer(f"{repository}:{tag}\n")
        configuration = json.dumps(
            {
                "architecture": ARCHITECTURE,
                "os": "linux",
                "created": "2026-01-01T00:00:00Z",
                "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(gzip.decompress(layer))]},
                "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "tests"}],
            }
        ).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._push_blob(repository, configuration, IMAGE_CONFIGURATION),
            "layers": [self._push_blob(repository, layer, LAYER)],
        }
        return self._push_manifest(repository, tag, manifest)

    def push_list(self, repository: str, tag: str, digest: str) -> str:
        """Push a list with the image of `digest` for this machine's platform, and give the list's own digest."""
        _, manifest = self.ask("GET", f"/v2/{repository}/manifests/{digest}", headers={"Accept": MANIFEST})
        return self._push_manifest(
            repository,
            tag,
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_LIST,
                "manifests": [
                    {
                        "mediaType": MANIFEST,
                        "digest": digest,
                        "size": len(manifest),
                        "platform": {"architecture": ARCHITECTURE, "os": "linux"},
                    }
                ],
            },
        )

    def blobs(self, repository: str, reference: str) -> tuple[str, ...]:
        """The digests of an image's configuration and layers."""
        _, body = self.ask("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": MANIFEST})
        manifest = json.loads(body)
        return tuple(part["digest"] for part in (manifest["config"], *manifest["layers"]))

    def _push_blob(self, repository: str, content: bytes, media_type: str) -> dict[str, Any]:
        """Push content that a manifest refers to, and give the reference."""
        digest = digest_of(content)
        started, body = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        assert started.status == http.client.ACCEPTED, body
        location = started.headers["Location"].removeprefix(self.url)
        stored, body = self.ask("PUT", f"{location}&digest={digest}", content)
        assert stored.status == http.client.CREATED, body
        return {"mediaType": media_type, "size": len(content), "digest": digest}

    def _push_manifest(self, repository: str, tag: str, manifest: dict[str, Any]) -> str:
        """Push a manifest, and give its digest."""
        content = json.dumps(manifest, indent=3).encode()
        target = f"/v2/{repository}/manifests/{tag}"
        stored, body = self.ask("PUT", target, content, {"Content-Type": manifest["mediaType"]})
        assert stored.status == http.client.CREATED, body
        return digest_of(content)


@contextmanager
def running_registry(folder: Path) -> Iterator[Registry]:
    """A registry that answers until the end of the context, and keeps everything in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    configuration, access_log, log = folder / "registry.yml", folder / "access.log", folder / "registry.log"
    configuration.write_text(_CONFIGURATION.format(folder=folder))
    with access_log.open("w") as access, log.open("w") as errors:
        process = subprocess.Popen(["docker-registry", "serve", configuration], stdout=access, stderr=errors)
    try:
        deadline = time.monotonic() + SOON
        while (listening := _LISTENING.search(log.read_text())) is None:
            assert process.poll() is None, f"docker-registry ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"docker-registry does not answer:\n{log.read_text()}"
            time.sleep(0.01)
        yield Registry(listening[1], access_log)
    finally:
        process.kill()
        process.wait()


def digest_of(content: bytes) -> str:
    """What the content is called in registries."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _layer(name: str) -> bytes:
    """A compressed file system with the programs, the libraries that `ldd` says they need, and a file with the name."""
    programs = [Path("/bin", program) for program in PROGRAMS]
    needed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    libraries = {Path(found) for found in re.findall(r"\s(/\S+) \(0x", needed)}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in (*programs, *sorted(libraries)):
            _add(tar, str(path), path.read_bytes(), 0o755)
        _add(tar, "/etc/image", name.encode(), 0o644)
        _add(tar, "/etc/passwd", b"root:x:0:0::/:/bin/sh\n", 0o644)
    return gzip.compress(archive.getvalue(), compresslevel=1, mtime=0)


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    """Put a file into the archive, the same at every time."""
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
