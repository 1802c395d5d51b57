"""Whether a container that really runs is started, ready and alive, asked as a node asks."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from ctrlplane_gitops.clock import monotonic_s
from tests.kubernetes.client import Object

# Until its first success a probe is asked more often than it says, so that tests are quick; what
# fails meanwhile counts once per period.
_EAGER_S = 0.2


@dataclass(frozen=True)
class Place:
    """How a container is reached: ``address`` from outside, ``ports`` by name, ``enter`` what must
    be said before a command, ``is_listening`` asked inside."""

    address: str
    ports: Mapping[str, int]
    enter: Callable[[Sequence[str]], tuple[Sequence[str], Mapping[str, str], Path]]
    is_listening: Callable[[int], bool]

    def port(self, said: int | str) -> int:
        return int(self.ports.get(str(said), 0) or said)


def ask(probe: Object, place: Place) -> str:
    """One attempt: "" when it holds, else what went wrong."""
    timeout_s = float(probe.get("timeoutSeconds", 1))
    if "httpGet" in probe:
        return _get(probe["httpGet"], place, timeout_s)
    if "exec" in probe:
        return _run(probe["exec"]["command"], place, timeout_s)
    if "tcpSocket" in probe:
        port = place.port(probe["tcpSocket"]["port"])
        return "" if place.is_listening(port) else f"dial tcp port {port}: connection refused"
    return _call(probe["grpc"], place, timeout_s)


def _get(spec: Object, place: Place, timeout_s: float) -> str:
    scheme = spec.get("scheme", "HTTP").lower()
    host = spec.get("host") or place.address
    url = f"{scheme}://{host}:{place.port(spec['port'])}{spec.get('path') or '/'}"
    headers = {one["name"]: one["value"] for one in spec.get("httpHeaders", ())}
    headers = {"User-Agent": "kube-probe/rig", "Connection": "close"} | headers
    try:
        with urllib3.PoolManager(
            retries=False, timeout=timeout_s, cert_reqs="CERT_NONE", assert_hostname=False
        ) as pool:
            status = pool.request("GET", url, headers=headers, redirect=False).status
    except (HTTPError, OSError) as failed:
        return f"Get {url!r}: {failed}"
    return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


def _run(command: Sequence[str], place: Place, timeout_s: float) -> str:
    try:
        # Where nothing runs any more, nothing can be entered.
        arguments, environ, folder = place.enter(command)
        done = subprocess.run(
            arguments,
            env=dict(environ),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return f"command timed out after {timeout_s:g}s"
    except OSError as failed:
        return str(failed)
    return "" if done.returncode == 0 else f"exit status {done.returncode}"


def _call(spec: Object, place: Place, timeout_s: float) -> str:
    """grpc.health.v1.Health/Check, its two messages by hand: a string, and an enumeration."""
    import grpc

    name = (spec.get("service") or "").encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    with grpc.insecure_channel(f"{place.address}:{spec['port']}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer = check(request, timeout=timeout_s)
        except grpc.RpcError as failed:
            return f"grpc: {failed.code().name}"
    return "" if answer == b"\x08\x01" else "grpc: not SERVING"


class Prober:
    """Asks one probe again and again, in a thread of its own, until it is closed. ``tell`` gets
    whether it holds, and what went wrong, each time its threshold is reached."""

    def __init__(
        self, probe: Object, place: Place, tell: Callable[[bool, str], None], *, is_once: bool
    ) -> None:
        self._probe, self._place, self._tell, self._is_once = probe, place, tell, is_once
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """May be called by the prober itself."""
        self._is_over.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        period_s = float(self._probe.get("periodSeconds", 10))
        wanted = {True: self._number("successThreshold", 1)}
        wanted[False] = self._number("failureThreshold", 3)
        said: bool | None = None
        last, count, counted_at = False, 0, float("-inf")
        self._is_over.wait(float(self._probe.get("initialDelaySeconds", 0)))
        while not self._is_over.is_set():
            trouble = ask(self._probe, self._place)
            holds, now = not trouble, monotonic_s()
            if holds != last:
                last, count, counted_at = holds, 0, float("-inf")
            if holds or now >= counted_at + period_s:
                count, counted_at = count + 1, now
            if self._is_over.is_set():
                return
            if count >= wanted[holds] and (holds != said or not holds):
                said, count = holds, 0 if not holds else count
                self._tell(holds, trouble)
                if holds and self._is_once:
                    return
            self._is_over.wait(period_s if said is not None and holds else self._pause_s(said))

    def _pause_s(self, said: bool | None) -> float:
        """A failure that was told is looked at in its period; before that, eagerly."""
        period_s = float(self._probe.get("periodSeconds", 10))
        return period_s if said else min(_EAGER_S, period_s)

    def _number(self, name: str, default: int) -> int:
        return int(self._probe.get(name, default))


def ports_of(container: Object) -> dict[str, int]:
    """Of a container, by name and by number."""
    found: dict[str, int] = {}
    for port in container.get("ports", ()):
        number = int(port["containerPort"])
        found[str(number)] = number
        if "name" in port:
            found[port["name"]] = number
    return found


def probed_ports(container: Object) -> set[int]:
    """Numbers that probes name and the container may not."""
    found: set[int] = set()
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        for kind in ("httpGet", "tcpSocket", "grpc"):
            said: Any = container.get(name, {}).get(kind, {}).get("port")
            if isinstance(said, int):
                found.add(said)
    return found
