"""The test image, made of this machine's Debian Python and busybox: no registry is needed."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from tests.engines.program import MissingEngineError

REPOSITORY = "ctrlplane-test-app"
_LABEL = "ctrlplane.dev/test-image"
_PYTHON = Path("/usr/bin/python3")
_BUSYBOX = Path("/bin/busybox")
_APP = Path(__file__).with_name("web_app.py")
_LEFT_OUT = re.compile(
    r"/(__pycache__|test|idlelib|lib2to3|ensurepip|pydoc_data|distutils|dist-packages|config-[^/]*)"
    r"(/|$)"
)


def build_images(client: docker.APIClient) -> None:
    """Make ``ctrlplane-test-app:1`` and ``:2`` (they differ in their env ``VERSION``)."""
    digest = hashlib.sha256(_APP.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:16]
    missing = [version for version in ("1", "2") if not _is_there(client, version, digest)]
    if not missing:
        return
    content = _pack()
    for version in missing:
        changes = [
            'CMD ["/usr/bin/python3", "-u", "/app/app.py"]',
            f"ENV VERSION={version}",
            f"LABEL {_LABEL}={digest}",
        ]
        client.import_image_from_data(content, repository=REPOSITORY, tag=version, changes=changes)
        if not _is_there(client, version, digest):
            raise MissingEngineError(f"{REPOSITORY}:{version} could not be imported")


def _is_there(client: docker.APIClient, version: str, digest: str) -> bool:
    try:
        found = client.inspect_image(f"{REPOSITORY}:{version}")
    except ImageNotFound:
        return False
    return bool((found["Config"].get("Labels") or {}).get(_LABEL) == digest)


def _pack() -> bytes:
    for needed, package in ((_PYTHON, "python3"), (_BUSYBOX, "busybox-static")):
        if not needed.exists():
            raise MissingEngineError(f"{needed} is not installed (apt-get install {package})")
    library = Path("/usr/lib", _PYTHON.resolve().name)
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for folder in ("tmp", "etc", "run", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        archive.add(_PYTHON.resolve(), str(_PYTHON))
        archive.add(_BUSYBOX.resolve(), "/bin/busybox")
        shell = tarfile.TarInfo("bin/sh")
        shell.type, shell.linkname = tarfile.SYMTYPE, "busybox"
        archive.addfile(shell)
        archive.add(library, str(library), filter=_keep)
        for needed in _shared_libraries([_PYTHON, *library.glob("lib-dynload/*.so")]):
            archive.add(Path(needed).resolve(), needed)
        archive.add(_APP, "/app/app.py")
    return output.getvalue()


def _keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    is_wanted = not _LEFT_OUT.search("/" + entry.name) and (entry.isfile() or entry.isdir())
    return entry if is_wanted else None


def _shared_libraries(programs: list[Path]) -> list[str]:
    """What the loader would load, the loader included, as absolute paths."""
    ldd = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=True)
    found = re.findall(r"(?:=> |^\s+)(/\S+\.so\S*) \(0x", ldd.stdout, re.MULTILINE)
    return sorted(set(found))
