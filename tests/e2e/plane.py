"""A repository of specs with a state of its own, and everything a test does with it."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ctrlplane_gitops.cli.main import main
from ctrlplane_gitops.clock import monotonic_s, sleep
from ctrlplane_gitops.providers.base import Provider, ProviderSettings
from ctrlplane_gitops.providers.registry import build_provider
from ctrlplane_gitops.state.action import Material, RemoveInstance, RemoveTenant
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.key import parse_address, tenant_key
from ctrlplane_gitops.state.observed import ObservedReplica
from tests.e2e import specs

GIT = ("git", "-c", "user.name=e2e", "-c", "user.email=e2e@example.com")
SERVER = Path(__file__).with_name("server.py")


@dataclass(frozen=True, slots=True)
class Engine:
    """``type`` of a provider and its options, as ``spec.providers`` has them."""

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        return json.dumps({"type": self.type, **self.options})


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a command. ``effects`` are the mutating calls it made to providers."""

    code: int
    out: str
    err: str
    effects: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def text(self) -> str:
        return self.out + self.err


class Plane:
    """``root`` holds the repository, the state and the cache. ``said`` is all that was printed."""

    def __init__(self, root: Path, engine: Engine) -> None:
        self.root = root
        self.engine = engine
        self.name = f"e2e-{secrets.token_hex(4)}"
        self.repo, self.state, self.cache = root / "repo", root / "state", root / "cache"
        self.secrets = root / "secrets"
        self.secrets.mkdir(parents=True)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environ = {
            **kept,
            **engine.environ,
            "CTRLPLANE_STATE_DIR": str(self.state),
            "CTRLPLANE_CACHE_DIR": str(self.cache),
            "CTRLPLANE_SECRETS_DIR": str(self.secrets),
            "CTRLPLANE_ACTOR": "e2e",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        self.said: list[str] = []
        self._started: list[subprocess.Popen[str]] = []

    # The repository.

    def begin(self, *tenants: str, **options: Any) -> None:
        """A repository with a file per tenant, committed."""
        self.repo.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.write("app/server.py", SERVER.read_text())
        self.write(
            "ctrlplane.yaml", specs.CONTROL.format(plane=self.name, provider=self.engine.line)
        )
        for tenant in tenants:
            self.write(f"tenants/{tenant}.yaml", specs.tenant(tenant, **options))
        self.commit()

    def write(self, path: str, text: str) -> None:
        file = self.repo / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def edit(self, path: str, before: str, after: str, count: int = 1) -> None:
        """Replace a text that must occur exactly ``count`` times, and commit."""
        file = self.repo / path
        text = file.read_text()
        assert text.count(before) == count, f"{before!r} occurs {text.count(before)} times"
        file.write_text(text.replace(before, after))
        self.commit()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "specs")
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        command = [*GIT, "-C", str(self.repo), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    # Commands.

    def run(
        self,
        *arguments: str,
        repo: Path | None = None,
        on_effect: Callable[[str], None] = lambda effect: None,
        **environ: str,
    ) -> Done:
        """In this process, with the mutating calls told."""
        out, err, effects = io.StringIO(), io.StringIO(), list[str]()

        def tell(effect: str) -> None:
            effects.append(effect)
            on_effect(effect)

        code = main(
            ["--chdir", str(repo or self.repo), *arguments],
            {**self.environ, **environ},
            out=out,
            err=err,
            on_effect=tell,
        )
        self.said += [out.getvalue(), err.getvalue()]
        return Done(code, out.getvalue(), err.getvalue(), tuple(effects))

    def ok(self, *arguments: str, **environ: str) -> Done:
        """The same, and it must exit 0."""
        done = self.run(*arguments, **environ)
        assert done.code == 0, done.text
        return done

    def apply(self, *arguments: str, **environ: str) -> Done:
        return self.run("apply", "-y", *arguments, **environ)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """In a process of its own, without a terminal."""
        command = [sys.executable, "-m", "ctrlplane_gitops", "--chdir", str(self.repo), *arguments]
        started = subprocess.Popen(
            command,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(started)
        return started

    def spawn(self, *arguments: str) -> Done:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=120)
        self.said += [out, err]
        return Done(process.returncode, out, err)

    def assert_settled(self) -> None:
        """A plan is empty, and an apply makes no mutating call."""
        plan = self.ok("plan")
        assert "No changes." in plan.out, plan.out
        done = self.apply()
        assert (done.code, done.effects) == (0, ()), (done.text, done.effects)

    # What is.

    def status(self) -> dict[str, Any]:
        """What ``status --json`` says of each instance, by address."""
        return {item["address"]: item for item in self.ok("status", "--json").json["instances"]}

    def events(self, prefix: str = "") -> list[dict[str, Any]]:
        """What happened, oldest first, of the types that begin with ``prefix``."""
        done = self.ok("events", "--json", "--type", prefix, "--limit", "10000")
        return list(done.json["events"])

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the store, past the command line."""
        path = (self.state / self.name / "state.db").as_uri()
        with closing(sqlite3.connect(f"{path}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(sql).fetchall()

    def urls(self, address: str) -> list[str]:
        return [item["url"] for item in self.status()[address]["endpoints"]]

    def answers(self, address: str, path: str = "/") -> list[str]:
        """What every endpoint answers."""
        return [fetch(url + path) for url in self.urls(address)]

    @contextmanager
    def provider(self) -> Iterator[Provider]:
        """The provider itself, to look at the world past the command line."""
        config = ProviderConfig("here", self.engine.type, dict(self.engine.options))
        folder = str(self.state / self.name)
        settings = ProviderSettings(self.name, config, folder, environ=self.environ)
        provider = build_provider(settings)
        try:
            yield provider
        finally:
            provider.close()

    def replicas(self, address: str | None = None) -> dict[str, ObservedReplica]:
        """What runs or is left, by name."""
        with self.provider() as provider:
            observed = provider.observe()
        assert not observed.gaps
        return {
            replica.name: replica
            for item in observed.replica_sets
            for replica in item.replicas
            if address is None or item.instance == parse_address(address)
        }

    def tenants(self) -> set[str]:
        """Who has a folder here, or a network on the engine."""
        if self.engine.type == "docker":
            with self.docker() as client:
                ours = {"label": f"ctrlplane.dev/plane={self.name}"}
                rows = client.networks(filters=ours)
            return {row["Name"].rpartition(".")[2] for row in rows}
        folder = self.state / self.name / "processes"
        return {path.name for path in folder.iterdir()}

    def identities(self) -> dict[str, tuple[str, object]]:
        """What a restart would change, by name."""
        return {name: (item.id, item.started_at) for name, item in self.replicas().items()}

    def app_pid(self, replica: str) -> int:
        """The process of a replica of the process provider."""
        folder = self.state / self.name / "processes"
        found = json.loads(folder.joinpath(*replica.split(".")[1:], "state.json").read_text())
        return int(found["app_pid"])

    def kill(self, replica: str) -> None:
        """SIGKILL to the application, and wait until that can be seen."""
        if self.engine.type == "docker":
            with self.docker() as client:
                client.kill(self.replicas()[replica].id, "SIGKILL")
        else:
            os.kill(self.app_pid(replica), signal.SIGKILL)
        wait_until(lambda: str(self.replicas()[replica].phase) == "stopped")

    @contextmanager
    def docker(self) -> Iterator[Any]:
        from tests.engines.dockerd import connect

        client = connect(self.engine.options["host"])
        try:
            yield client
        finally:
            client.close()

    def has_read_the_specs(self, process: subprocess.Popen[str]) -> bool:
        """Whether a command of ours has the store open, whose place it knows from the specs."""
        store, found = self.state / self.name / "state.db", []
        for entry in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(OSError):
                found.append(entry.readlink())
        return store in found

    # The end.

    def close(self) -> None:
        """Remove everything that runs; no process of ours is left."""
        for started in self._started:
            with started:
                started.kill()
        with self.provider() as provider:
            sets = provider.observe().replica_sets
            for key in {item.instance for item in sets}:
                now = timedelta(seconds=1)
                provider.perform(RemoveInstance(key, "here", now, True), Material())
            for tenant in {item.instance.tenant for item in sets}:
                provider.perform(RemoveTenant(tenant_key(tenant), "here"), Material())
        wait_until(lambda: not self.processes())

    def processes(self) -> list[int]:
        """Processes other than this one that were started with our state."""
        marker, found = os.fsencode(self.state), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    texts = [(entry / name).read_bytes() for name in ("environ", "cmdline")]
                    texts.append(os.fsencode((entry / "cwd").readlink()))
                    if any(marker in text for text in texts):
                        found.append(int(entry.name))
        return found


def fetch(url: str, timeout_s: float = 5) -> str:
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        return str(response.read().decode())


def wait_until(is_so: Any, patience_s: float = 30) -> None:
    """Until it is so; the patience is only for what never comes."""
    deadline = monotonic_s() + patience_s
    while not is_so():
        assert monotonic_s() < deadline, "it never came about"
        sleep(0.05)


@dataclass(slots=True)
class Poll:
    """``answers`` counts by text, ``failures`` are those that were none."""

    answers: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@contextmanager
def polling(urls: Sequence[str]) -> Iterator[Poll]:
    """Ask all of them again and again for the block, never retrying."""
    poll, is_over = Poll(), threading.Event()

    def ask() -> None:
        while not is_over.wait(0.02):
            for url in urls:
                try:
                    text = fetch(url)
                    poll.answers[text] = poll.answers.get(text, 0) + 1
                except (OSError, HTTPException) as error:
                    poll.failures.append(f"{url}: {error}")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield poll
    finally:
        is_over.set()
        thread.join()
