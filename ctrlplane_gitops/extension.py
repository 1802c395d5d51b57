"""A Flask extension: the API and the pages below a prefix of your application, and the workers in
its process.

::

    app = Flask(__name__)
    app.config.from_mapping(CTRLPLANE_SOURCE="https://git.example.com/prod.git")
    ctrlplane = CtrlPlaneGitOps(app)

    with ctrlplane.running():
        app.run()

Importing and mounting starts nothing: who imports an application may only want to look at it, and a
server that forks would have the workers in the wrong process.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask

from ctrlplane_gitops.api.application import mount
from ctrlplane_gitops.api.guard import Access
from ctrlplane_gitops.app import Where, open_app
from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.config import load_settings
from ctrlplane_gitops.errors import UsageError
from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.serving.following import load_followed
from ctrlplane_gitops.serving.output import Output
from ctrlplane_gitops.serving.service import Intervals, Service
from ctrlplane_gitops.source.directory import DirectorySource
from ctrlplane_gitops.units import parse_duration
from ctrlplane_gitops.workers.watcher import watch_folder

_KEY = "ctrlplane_gitops"
_GRACE = timedelta(seconds=7.5)
# At the end of the interpreter no thread can be started any more, so nothing goes on anyway.
_AT_EXIT = timedelta(seconds=1)
_log = logging.getLogger("ctrlplane_gitops")


class CtrlPlaneGitOps:
    """One object may serve several applications, each with a control plane of its own."""

    def __init__(self, app: Flask | None = None) -> None:
        self._app = app
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Mount API and pages. ``app.config`` takes every setting that the command takes from the
        environment, by the same name, and wins over it; ``CTRLPLANE_SOURCE`` says what is followed,
        ``CTRLPLANE_PREFIX`` where we are (``/ctrlplane``)."""
        if _KEY in app.extensions:
            raise UsageError("a control plane is mounted into this application already")
        app.extensions[_KEY] = _Mounted(app)

    def start(self, app: Flask | None = None) -> None:
        """Start the workers in this process, once."""
        self._find(app).start()

    def stop(self, app: Flask | None = None) -> bool:
        """End what is in flight, at most 7.5 s long, and give everything back; for good. False
        where something did not end: it was written down before it was begun, and the next pass
        finds out what came of it, as after a crash."""
        return self._find(app).stop(_GRACE)

    @contextmanager
    def running(self, app: Flask | None = None) -> Iterator[None]:
        """The workers run for the block."""
        mounted = self._find(app)
        mounted.start()
        try:
            yield
        finally:
            mounted.stop(_GRACE)

    def _find(self, app: Flask | None) -> _Mounted:
        chosen = self._app if app is None else app
        if chosen is None or _KEY not in chosen.extensions:
            raise UsageError("say which application: call init_app with it first")
        mounted: _Mounted = chosen.extensions[_KEY]
        return mounted


class _Mounted:
    """A control plane in an application."""

    def __init__(self, app: Flask) -> None:
        settings = _Settings(app.config, os.environ)
        self._source = settings.require("source")
        self._lock, self._cancel = threading.Lock(), threading.Event()
        self._is_started = self._is_stopped = False
        self._stack, clock = ExitStack(), SystemClock()
        self._output = Output(log=lambda text: _log.info("%s", one_line(text)))
        self._app = self._stack.enter_context(
            open_app(
                load_settings(settings.environ),
                settings.environ,
                clock,
                Where(self._source, settings.get("ref") or None),
                self._cancel,
                lambda effect: None,
            )
        )
        if isinstance(self._app.source, DirectorySource) and not Path(self._source).is_dir():
            raise UsageError(f"{self._source} is not a directory", hint="see CTRLPLANE_SOURCE")
        intervals = Intervals(*map(settings.duration, _INTERVALS))
        followed = load_followed(settings.environ, self._source, settings.get("public_url"))
        self.service = Service(self._app, self._cancel, intervals, self._output, followed)
        access = Access(self.service.read_tokens, settings.is_set("insecure"), clock)
        mount(app, self.service.views, access, settings.prefix)

    def start(self) -> None:
        with self._lock:
            if self._is_stopped:
                raise UsageError("it was stopped; make another application to start again")
            if self._is_started:
                return
            self._is_started = True
        if isinstance(self._app.source, DirectorySource):
            watch_folder(Path(self._source), self._cancel, self.service.wake, self._complain)
        self.service.scheduler.start()
        atexit.register(self.stop, _AT_EXIT)

    def stop(self, within: timedelta) -> bool:
        with self._lock:
            if self._is_stopped:
                return True
            self._is_stopped = True
        self._cancel.set()
        left = self.service.scheduler.stop(within) if self._is_started else ()
        atexit.unregister(self.stop)
        if left:
            # Their threads end with the process; nobody else has to wait for the lease till then.
            with suppress(Exception):
                self.service.break_lease()
            return False
        self.service.close()
        self._stack.close()
        return True

    def _complain(self, reason: str) -> None:
        self._output.log(f"changes of files are not watched, only polled for: {reason}")


# In the order of ``Intervals``.
_INTERVALS = ("poll", "interval", "gc_interval", "health_interval", "telemetry_interval")
_DEFAULTS = {
    **dict(zip(_INTERVALS, ("60s", "60s", "5m", "30s", "10s"), strict=True)),
    "prefix": "/ctrlplane",
}


class _Settings:
    """``config`` of an application over the environment of its process."""

    def __init__(self, config: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        ours = {
            name: str(value)
            for name, value in config.items()
            if name.startswith("CTRLPLANE_") and value not in (None, False)
        }
        hidden = {name for name, value in config.items() if value is False}
        kept = {name: value for name, value in environ.items() if name not in hidden}
        self.environ = {**kept, **ours}

    def get(self, name: str) -> str:
        return self.environ.get(f"CTRLPLANE_{name.upper()}") or _DEFAULTS.get(name, "")

    def require(self, name: str) -> str:
        found = self.get(name)
        if not found:
            raise UsageError(f"app.config says no CTRLPLANE_{name.upper()}")
        return found

    def duration(self, name: str) -> timedelta:
        try:
            found = parse_duration(self.get(name))
        except ValueError as error:
            raise UsageError(f"CTRLPLANE_{name.upper()}: {error}") from None
        if found < timedelta(seconds=1):
            raise UsageError(f"CTRLPLANE_{name.upper()}: the shortest is 1s")
        return found

    def is_set(self, name: str) -> bool:
        return self.get(name).lower() not in ("", "0", "false", "no")

    @property
    def prefix(self) -> str:
        found = self.get("prefix").rstrip("/")
        if found and not found.startswith("/"):
            raise UsageError(f"CTRLPLANE_PREFIX: {found!r} does not begin with a slash")
        return found
