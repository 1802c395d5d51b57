"""What containers use, as the engine says: where the kernel's own files are out of reach.

One answer takes a second on many engines, whatever is asked, and as many can be waited for as there
are containers: an engine on this machine is asked over as many connections at once.
"""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from ctrlplane_gitops.clock import monotonic_s
from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.providers.docker.listing import read_answer, request_of
from ctrlplane_gitops.state.observed import ObservedReplica
from ctrlplane_gitops.state.usage import Usage

if TYPE_CHECKING:
    from ctrlplane_gitops.providers.docker.engine import Engine

# Each takes a file descriptor here and a thread in the engine.
_AT_ONCE = 400


def ask_socket(
    provider: str, path: str, timeout_s: float, replicas: Sequence[ObservedReplica]
) -> dict[str, Usage]:
    """By name; who is gone is left out. UnreachableError when the engine does not answer at all.
    ``timeout_s`` is for each round of ``_AT_ONCE`` together."""
    found: dict[str, Usage] = {}
    for start in range(0, len(replicas), _AT_ONCE):
        part = replicas[start : start + _AT_ONCE]
        targets = [f"/containers/{item.id}/stats?stream=false&one-shot=true" for item in part]
        try:
            answers = _get_all(path, targets, timeout_s)
        except OSError as error:
            raise UnreachableError(
                f"{provider}: the Docker engine does not answer: {error or type(error).__name__}",
                hint="is it running, and may this user open its socket?",
            ) from error
        if not any(answers):
            raise UnreachableError(f"{provider}: the Docker engine does not answer in time")
        for item, answer in zip(part, answers, strict=True):
            usage = _parse(answer)
            if usage is not None:
                found[item.name] = usage
    return found


def _parse(answer: bytes) -> Usage | None:
    try:
        status, content = read_answer(answer)
        return parse_stats(json.loads(content)) if status == 200 else None
    except (ValueError, KeyError, TypeError):
        return None


def parse_stats(stats: Mapping[str, Any]) -> Usage | None:
    """Of one answer; None for a container that does not run.

    >>> parse_stats({"cpu_stats": {"cpu_usage": {"total_usage": 2500000000}},
    ...     "memory_stats": {"usage": 700, "stats": {"inactive_file": 200}},
    ...     "networks": {"eth0": {"rx_bytes": 5, "tx_bytes": 6}}})
    Usage(cpu_s=2.5, memory_bytes=500, rx_bytes=5, tx_bytes=6)
    """
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    kept = memory.get("stats") or {}
    # By the version of control groups.
    cached = kept.get("total_inactive_file", kept.get("inactive_file", 0))
    networks = (stats.get("networks") or {}).values()
    rx, tx = (
        sum(item[name] for item in networks) if networks else None
        for name in ("rx_bytes", "tx_bytes")
    )
    cpu_ns = stats["cpu_stats"]["cpu_usage"]["total_usage"]
    return Usage(cpu_ns / 1e9, max(0, memory["usage"] - cached), rx, tx)


def _get_all(path: str, targets: Sequence[str], timeout_s: float) -> list[bytes]:
    """The answers; what has not come in time is empty. OSError when nobody listens."""
    answers = [b""] * len(targets)
    deadline = monotonic_s() + timeout_s
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for number, target in enumerate(targets):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(timeout_s)
            connection.connect(path)
            connection.sendall(request_of(target))
            selector.register(connection, selectors.EVENT_READ, number)
        while selector.get_map() and (left := deadline - monotonic_s()) > 0:
            for key, _ in selector.select(left):
                assert isinstance(key.fileobj, socket.socket)
                try:
                    part = key.fileobj.recv(1 << 16)
                except OSError:
                    part = b""
                answers[key.data] += part
                if not part:
                    selector.unregister(key.fileobj)
    return answers


def ask_engine(
    engine: Engine,
    replicas: Collection[ObservedReplica],
    read_all: Callable[[Sequence[Callable[[], None]]], None],
) -> dict[str, Usage]:
    """The same by the SDK, for an engine elsewhere. ProviderError when it answers for nobody."""
    # It takes 17 MiB, and an engine on this machine is asked without it.
    from docker.utils import version_gte

    from ctrlplane_gitops.providers.docker.failure import translated

    found: dict[str, Usage] = {}
    failed: list[ProviderError] = []

    def ask(item: ObservedReplica) -> None:
        try:
            with translated(engine.name, f"measure {item.name}"):
                client = engine.client
                # Before this version of the API every answer waits for a second sample.
                one_shot = True if version_gte(client.api_version, "1.41") else None
                usage = parse_stats(client.stats(item.id, stream=False, one_shot=one_shot))
        except ProviderError as error:
            failed.append(error)
            return
        if usage is not None:
            found[item.name] = usage

    read_all([partial(ask, item) for item in replicas])
    if failed and not found:
        raise failed[0]
    return found
