"""What a page is made of, for tests: a strict reader of HTML."""

from __future__ import annotations

from html.parser import HTMLParser

from flask.testing import FlaskClient

from ctrlplane_gitops.state.recorded import (
    RecordBatch,
    RecordedInstance,
    RolloutPhase,
    RolloutStatus,
)
from tests.api.scene import Scene, bearer
from tests.status.board_kit import NOW, WEB

_VOID = frozenset({"meta", "link", "input", "br", "hr", "img"})


class Document(HTMLParser):
    """Reads a page, or says what is wrong with it: tags that do not match, an id twice, a label for
    nothing, scripts or styles inside of it, addresses of other hosts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.ids: list[str] = []
        self.named: list[str] = []
        self.links: list[str] = []
        self.forms: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        if not text.startswith("<!doctype html>"):
            self.problems.append("no doctype")
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag in self._open]
        self.problems += [f"id {name!r} twice" for name in self.ids if self.ids.count(name) > 1]
        self.problems += [f"no id {name!r}" for name in self.named if name not in self.ids]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self._open.append(tag)
        self._take(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._take(tag, attrs)

    def _take(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if len(given) != len(attrs):
            self.problems.append(f"an attribute of <{tag}> twice")
        for name, value in given.items():
            if name.startswith("on") or name == "style":
                self.problems.append(f"{name} of <{tag}>")
            if name in ("href", "src", "action") and not (value or "").startswith(("/", "#")):
                self.problems.append(f"{name}={value!r}")
        if tag in ("style", "base", "iframe", "object") or (tag == "script" and "src" not in given):
            self.problems.append(f"<{tag}>")
        if "id" in given:
            self.ids.append(given["id"] or "")
        for name in ("for", "aria-labelledby"):
            if given.get(name):
                self.named.append(given[name] or "")
        if tag == "a":
            self.links.append(given.get("href") or "")
        if tag == "form" and given.get("method") == "post":
            self.forms.append(given.get("action") or "")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read_page(text: str) -> Document:
    """The page, which must be sound."""
    page = Document(text)
    assert page.problems == []
    return page


def open_page(client: FlaskClient, path: str, token: str | None = None) -> Document:
    answer = client.get(path, headers=bearer(token) if token else {})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return read_page(answer.get_data(as_text=True))


def csrf_of(text: str) -> str:
    """What a form of the page has to send along."""
    return text.split('name="csrf" value="')[1].split('"')[0]


def make_waiting(scene: Scene) -> None:
    """A canary of ``web`` is in its second step."""
    status = RolloutStatus(RolloutPhase.PROGRESSING, 2, 1, NOW, NOW, step=1, step_at=NOW)
    place = RecordedInstance(WEB, "local", 1, rollout=status)
    scene.seen.store.record(RecordBatch(instances=(place,)), scene.seen.fence)
    scene.seen.live = scene.seen.look()
