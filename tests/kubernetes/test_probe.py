"""A probe of what has just ended is a probe that fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.kubernetes.probe import Place, ask


def leave(command: Sequence[str]) -> tuple[Sequence[str], Mapping[str, str], Path]:
    raise OSError("container is not running")


def test_a_command_in_a_container_that_has_ended_fails() -> None:
    place = Place("127.0.0.1", {}, leave, lambda port: False)
    assert ask({"exec": {"command": ["true"]}}, place) == "container is not running"


def test_a_port_where_nobody_listens_fails() -> None:
    place = Place("127.0.0.1", {"http": 1}, leave, lambda port: False)
    assert "connection refused" in ask({"tcpSocket": {"port": "http"}}, place)
    assert "http://127.0.0.1:1/" in ask({"httpGet": {"port": "http"}}, place)
