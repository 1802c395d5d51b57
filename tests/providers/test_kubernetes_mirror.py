"""What a mirror says of its collection, and when it says nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ctrlplane_gitops.cluster.api import Api, Write
from ctrlplane_gitops.cluster.connection import Answer
from ctrlplane_gitops.cluster.resource import POD
from ctrlplane_gitops.cluster.watch import WatchEvent, WatchType
from ctrlplane_gitops.providers.kubernetes import mirror as module
from ctrlplane_gitops.providers.kubernetes.mirror import Change, Mirror, RewoundError, Selection


def pod(name: str, version: int, state: str = "", uid: str = "") -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": name, "uid": uid or name}
    return {"metadata": metadata | {"resourceVersion": str(version)}, "state": state}


def event(type: str, item: dict[str, Any]) -> WatchEvent:
    return WatchEvent(WatchType(type), item, int(item["metadata"]["resourceVersion"]))


def written(version: int | None, labels: dict[str, str] | None = None) -> Write:
    metadata = {"resourceVersion": str(version), "labels": {"a": "b"} if labels is None else labels}
    return Write(POD, None if version is None else {"metadata": metadata})


class Server:
    """Lists what it is given, as of ``version``."""

    def __init__(self, version: int, *items: dict[str, Any]) -> None:
        self.version, self.items = version, items
        self.asked = 0
        self.meanwhile = lambda: None

    def request(self, *arguments: Any, **options: Any) -> Answer:
        self.asked += 1
        metadata = {"resourceVersion": str(self.version)}
        answer = Answer(200, json.dumps({"metadata": metadata, "items": self.items}).encode())
        self.meanwhile()
        return answer


class Scene:
    def __init__(self) -> None:
        self.server = Server(10, pod("a", 3, "one"), pod("b", 4))
        self.mirror = Mirror(
            Selection(POD, {"a": "b"}, lambda item: (item["metadata"]["name"], item["state"]))
        )
        self.cuts = 0

    def refresh(self) -> dict[str, str]:
        return dict(self.mirror.refresh(Api(self.server)))  # type: ignore[arg-type]

    def open(self, floor: int = 0) -> None:
        self.mirror.open(self.cut, floor)

    def cut(self) -> None:
        self.cuts += 1

    def read(self) -> dict[str, str] | None:
        found = self.mirror.read()
        return None if found is None else dict(found)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(module, "_SETTLING_S", 0.0)
    monkeypatch.setattr(module, "_PATIENCE_S", 0.05)
    scene = Scene()
    assert scene.refresh() == {"a": "one", "b": ""}
    scene.open()
    yield scene


def test_what_was_listed_is_known_while_it_is_watched(scene: Scene) -> None:
    assert scene.read() == {"a": "one", "b": ""}
    scene.mirror.close()
    assert scene.read() is None
    assert scene.cuts == 1


def test_events_change_it_and_say_what(scene: Scene) -> None:
    take = scene.mirror.take
    assert take(event("MODIFIED", pod("a", 11, "two"))) == Change(("a", "one"), ("a", "two"))
    assert take(event("MODIFIED", pod("a", 12, "two"))) is None, "of what we look at nothing"
    assert take(event("ADDED", pod("c", 13))) == Change(None, ("c", ""))
    assert take(event("DELETED", pod("b", 14))) == Change(("b", ""), None)
    assert take(event("BOOKMARK", {"metadata": {"resourceVersion": "20"}})) is None
    assert scene.read() == {"a": "two", "c": ""}
    assert scene.mirror.version == 20


def test_what_a_list_has_already_is_not_taken_back(scene: Scene) -> None:
    assert scene.mirror.take(event("DELETED", pod("b", 9))) is None
    assert scene.read() == {"a": "one", "b": ""}


def test_our_own_write_has_to_have_come_back(scene: Scene) -> None:
    scene.mirror.owe(written(11))
    assert scene.read() is None
    scene.mirror.take(event("MODIFIED", pod("a", 11, "two")))
    assert scene.read() == {"a": "two", "b": ""}


def test_a_write_of_which_nothing_is_known_takes_a_list(scene: Scene) -> None:
    scene.mirror.owe(written(None))
    scene.mirror.take(event("MODIFIED", pod("a", 11, "two")))
    assert scene.read() is None
    scene.server.version = 12
    assert scene.refresh() == {"a": "one", "b": ""}
    assert scene.read() == {"a": "one", "b": ""}


def test_what_is_written_while_it_is_listed_is_still_owed(scene: Scene) -> None:
    def write() -> None:
        scene.mirror.owe(written(15))

    scene.server.version, scene.server.meanwhile = 12, write
    scene.refresh()
    assert scene.read() is None
    scene.server.meanwhile = lambda: scene.mirror.owe(written(None))
    scene.server.version = 16
    scene.refresh()
    assert scene.read() is None
    scene.server.meanwhile = lambda: None
    scene.refresh()
    assert scene.read() is not None


def test_what_came_by_the_watch_while_it_was_listed_stays(scene: Scene) -> None:
    scene.server.version = 11
    scene.server.meanwhile = lambda: scene.mirror.take(event("ADDED", pod("c", 12))) and None
    assert scene.refresh() == {"a": "one", "b": "", "c": ""}
    assert scene.mirror.version == 12


def test_a_write_of_something_else_is_not_waited_for(scene: Scene) -> None:
    scene.mirror.owe(written(99, labels={}))
    assert scene.read() is not None


def test_what_is_written_while_somebody_waits_is_not_their_business(scene: Scene) -> None:
    scene.mirror.owe(written(11))
    scene.mirror.take(event("MODIFIED", pod("a", 11, "two")))
    scene.mirror.owe(written(12))
    assert scene.read() is None
    scene.mirror.take(event("MODIFIED", pod("a", 12, "three")))
    assert scene.read() == {"a": "three", "b": ""}


@pytest.mark.parametrize(
    "said", [{"metadata": {"uid": "b", "resourceVersion": "4"}}, {"details": {"uid": "b"}}]
)
def test_what_we_delete_has_to_be_going_or_gone(scene: Scene, said: dict[str, Any]) -> None:
    scene.mirror.owe(Write(POD, said, is_end=True))
    assert scene.read() is None
    going = pod("b", 11, "going")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    scene.mirror.take(event("MODIFIED", going))
    assert scene.read() == {"a": "one", "b": "going"}
    scene.mirror.owe(Write(POD, {"metadata": {"uid": "a"}}, is_end=True))
    assert scene.read() is None
    scene.mirror.take(event("DELETED", pod("a", 12)))
    assert scene.read() == {"b": "going"}


def test_a_delete_that_does_not_say_of_whom_takes_a_list(scene: Scene) -> None:
    scene.mirror.owe(Write(POD, {"kind": "Status"}, is_end=True))
    assert scene.read() is None
    scene.refresh()
    assert scene.read() is not None


def test_what_somebody_saw_gone_has_to_go(scene: Scene) -> None:
    scene.mirror.owe_end("b", is_whole=True)
    scene.mirror.owe_end("was never there", is_whole=True)
    going = pod("b", 11, "going")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    scene.mirror.take(event("MODIFIED", going))
    assert scene.read() is None
    scene.mirror.take(event("DELETED", pod("b", 12)))
    assert scene.read() == {"a": "one"}
    # Another one of that name is another one.
    scene.mirror.owe_end("a", is_whole=True)
    scene.mirror.take(event("ADDED", pod("a", 13, "new", uid="other")))
    assert scene.read() == {"a": "new"}


def test_after_a_break_it_has_to_catch_up(scene: Scene) -> None:
    scene.mirror.close()
    scene.open(floor=15)
    assert scene.read() is None
    scene.mirror.take(event("MODIFIED", pod("a", 14, "two")))
    assert scene.read() is None
    scene.mirror.take(event("BOOKMARK", {"metadata": {"resourceVersion": "15"}}))
    assert scene.read() == {"a": "two", "b": ""}


def test_versions_that_go_back_are_another_history(scene: Scene) -> None:
    scene.mirror.take(event("ADDED", pod("c", 90)))
    scene.mirror.owe(written(91))
    scene.server = Server(5, pod("a", 3, "restored"))
    assert scene.refresh() == {"a": "restored"}
    assert scene.read() is None, "what is watched is not of this history"
    assert scene.cuts == 1
    with pytest.raises(RewoundError):
        scene.mirror.take(event("ADDED", pod("d", 92)))
    scene.refresh()
    scene.open()
    assert scene.read() == {"a": "restored"}


def test_in_another_cluster_nothing_is_known(scene: Scene) -> None:
    scene.mirror.forget()
    assert scene.read() is None
    assert scene.mirror.version == 0
    assert scene.cuts == 1
