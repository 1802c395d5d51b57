"""The list call of an engine, over a real socket: however the answer comes, and when it is none."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctrlplane_gitops.errors import ProviderError, UnreachableError
from ctrlplane_gitops.providers.docker.listing import list_containers, list_networks, parse_rows

_OK = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
_TEXTS = st.text(max_size=12)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)
_ROWS = st.lists(st.dictionaries(_TEXTS, _VALUES, max_size=4), max_size=6)


class Engine:
    """Sends ``parts`` to whoever asks once, each after the reader has taken the one before when
    ``gate`` is given, and closes."""

    def __init__(self, folder: Path, parts: Sequence[bytes]) -> None:
        self.path = str(folder / "s")
        self.gate = threading.Semaphore(0)
        self.asked = b""
        self._parts = parts
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            self.asked = connection.recv(65536)
            for part in self._parts:
                assert self.gate.acquire(timeout=10)
                connection.sendall(part)

    def close(self) -> None:
        self._thread.join(10)
        self._listening.close()


def ask(tmp_path: Path, *parts: bytes) -> Iterator[dict[str, object]]:
    with closing(Engine(tmp_path, parts)) as engine:
        engine.gate.release(len(parts))
        yield from list_containers("docker", engine.path, 10, {"label": ["a=b"]})


# A busy machine is slow to generate what is nested.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(_ROWS, st.data())
def test_rows_are_the_same_however_they_are_cut(
    rows: list[dict[str, object]], data: st.DataObject
) -> None:
    is_ascii, indent = data.draw(st.booleans()), data.draw(st.sampled_from([None, 1]))
    text = json.dumps(rows, ensure_ascii=is_ascii, indent=indent)
    content = text.encode("utf-8", "surrogatepass" if is_ascii else "replace")
    wanted = json.loads(content)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    parts = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    assert list(parse_rows(parts)) == wanted


# A busy machine is slow to generate what is nested.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(_ROWS, st.data())
def test_a_list_that_does_not_end_is_none(
    rows: list[dict[str, object]], data: st.DataObject
) -> None:
    content = json.dumps(rows).encode()
    end = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ValueError, match="whole list"):
        list(parse_rows([content[:end]]))


def test_a_row_is_there_before_the_answer_is_whole(tmp_path: Path) -> None:
    with closing(Engine(tmp_path, [_OK + b'[{"Id": "1"}, {"I', b'd": "2"}]'])) as engine:
        engine.gate.release()
        rows = list_containers("docker", engine.path, 10, {})
        assert next(rows) == {"Id": "1"}
        engine.gate.release()
        assert list(rows) == [{"Id": "2"}]
    assert engine.asked.startswith(b"GET /containers/json?all=1&filters=%7B%7D HTTP/1.0\r\n")


def test_a_head_may_come_in_pieces(tmp_path: Path) -> None:
    assert list(ask(tmp_path, _OK[:9], _OK[9:-2], _OK[-2:], b"[]")) == []


def test_no_networks_are_an_empty_list(tmp_path: Path) -> None:
    with closing(Engine(tmp_path, [_OK + b"[]"])) as engine:
        engine.gate.release()
        assert list_networks("docker", engine.path, 10, {"a": "b"}) == []


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.0 200 OK\r\n", _OK, _OK + b"null", _OK + b'[{"Id": "1"},']
)
def test_an_answer_that_is_cut_off_is_none(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        list(ask(tmp_path, answer))


@pytest.mark.parametrize(("status", "is_retryable"), [(500, True), (400, False)])
def test_what_the_engine_says_of_an_error_is_told(
    tmp_path: Path, status: int, is_retryable: bool
) -> None:
    head = f"HTTP/1.0 {status} Sorry\r\n\r\n".encode()
    with pytest.raises(ProviderError, match="cannot list containers: no such") as found:
        list(ask(tmp_path, head, b'{"message": "no such', b' thing"}'))
    assert found.value.is_retryable is is_retryable
