"""Who is told of what, and what happens when nobody is there to be told."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import timedelta

import pytest

from ctrlplane_gitops.clock import FakeClock
from ctrlplane_gitops.events.attempt import MAX_ATTEMPTS
from ctrlplane_gitops.events.event import EventType
from ctrlplane_gitops.http.fetch import Reply, post
from ctrlplane_gitops.state.notification import MessageState
from ctrlplane_gitops.store.base import Store
from tests.http.receiver import HANG, OK, RESET, SECRET, Receiver
from tests.workers.notifier_kit import SECOND, Scene, env, subscription

FAILED, COMPLETED = EventType.ROLLOUT_FAILED, EventType.ROLLOUT_COMPLETED
PAUSED = EventType.ROLLOUT_PAUSED


@pytest.fixture
def scene(store: Store, receiver: Receiver, clock: FakeClock) -> Scene:
    """One subscription to everything, which has read the log as far as it goes."""
    made = Scene(store, subscription(receiver.url, headers={"X-Team": "ops"}), clock=clock)
    made.turn()
    return made


def test_what_happens_is_told_signed_and_written_down(scene: Scene, receiver: Receiver) -> None:
    scene.tell(FAILED, text="v2 did not come up", release="v2")
    scene.turn()
    (body,) = receiver.bodies
    assert (body["type"], body["subject"]) == ("dev.ctrlplane.rollout.failed", "instance/acme/web")
    assert body["data"]["message"] == "v2 did not come up"
    (message,) = scene.messages()
    assert [message.id] == receiver.ids
    assert scene.states() == [("delivered", 1, 204)]
    assert receiver.headers[0]["X-Team"] == "ops"
    assert scene.error == ""


def test_a_hundred_identical_failures_are_one_message_and_one_recovery(
    scene: Scene, receiver: Receiver
) -> None:
    for _ in range(100):
        scene.tell(FAILED, release="v2")
        scene.turn(SECOND)
    scene.tell(COMPLETED, release="v3")
    scene.turn()
    assert receiver.types() == ["rollout.failed", "rollout.completed"]
    assert receiver.bodies[1]["data"]["count"] == 100
    assert receiver.bodies[1]["data"]["notice"] == "recovery"


def test_what_was_noticed_and_sent_survives_a_restart(
    scene: Scene, receiver: Receiver, clock: FakeClock
) -> None:
    scene.tell(FAILED, release="v2")
    scene.turn()
    after = Scene(scene.store, *scene.subscriptions, clock=clock)
    for _ in range(4):
        after.tell(FAILED, release="v2")
    after.turn(SECOND)
    after.tell(COMPLETED)
    Scene(scene.store, *scene.subscriptions, clock=clock).turn()
    assert receiver.types() == ["rollout.failed", "rollout.completed"]
    assert receiver.bodies[1]["data"]["count"] == 5


def test_what_flapped_is_told_once_more_when_it_has_settled(
    scene: Scene, receiver: Receiver
) -> None:
    for _ in range(10):
        scene.tell(EventType.INSTANCE_REPAIRED)
        scene.turn(60 * SECOND)
    scene.turn(timedelta(minutes=58))
    assert len(receiver.bodies) == 1
    scene.turn(timedelta(minutes=3))
    scene.turn(timedelta(minutes=3))
    assert receiver.types() == ["instance.repaired"] * 2
    assert (receiver.bodies[1]["data"]["notice"], receiver.bodies[1]["data"]["count"]) == (
        "settled", 10,
    )  # fmt: skip


def test_who_is_new_hears_of_what_comes_not_of_what_was(
    store: Store, receiver: Receiver, clock: FakeClock
) -> None:
    scene = Scene(store, clock=clock)
    scene.tell(FAILED, release="v1")
    scene.turn()
    scene.subscriptions = (subscription(receiver.url),)
    scene.turn()
    scene.tell(PAUSED)
    scene.turn()
    assert receiver.types() == ["rollout.paused"]
    scene.subscriptions = ()
    scene.turn()
    scene.tell(FAILED, release="v2")
    scene.turn(600 * SECOND)
    scene.subscriptions = (subscription(receiver.url),)
    scene.turn()
    scene.tell(PAUSED)
    scene.turn()
    assert receiver.types() == ["rollout.paused"] * 2


def test_who_is_there_from_the_beginning_hears_of_the_very_first_thing(
    store: Store, receiver: Receiver, clock: FakeClock
) -> None:
    Scene(store, clock=clock).tell(FAILED, release="v1")
    scene = Scene(store, subscription(receiver.url), clock=clock)
    scene.tell(PAUSED)
    scene.turn()
    assert receiver.types() == ["rollout.paused"]


def test_a_failure_is_tried_again_later_with_the_same_id_and_body(
    scene: Scene, receiver: Receiver
) -> None:
    receiver.answers = [(500, {}), (503, {})]
    scene.tell(PAUSED)
    scene.turn()
    assert scene.states() == [("pending", 1, 500)]
    assert scene.error == "ops: status 500"
    assert scene.turn(4 * SECOND) == SECOND
    assert len(receiver.ids) == 1
    scene.turn(SECOND)
    scene.turn(9 * SECOND)
    assert len(receiver.ids) == 2
    scene.turn(SECOND)
    assert scene.states() == [("delivered", 3, 204)]
    assert len(set(receiver.ids)) == 1 and receiver.bodies[0] == receiver.bodies[2]
    stamps = [item["webhook-timestamp"] for item in receiver.headers]
    assert len(set(stamps)) == 3
    assert scene.turn() and scene.error == ""


def test_the_receiver_may_say_how_long_to_leave_it_alone(scene: Scene, receiver: Receiver) -> None:
    receiver.answers = [(429, {"Retry-After": "120"})]
    scene.tell(PAUSED)
    scene.turn()
    scene.tell(PAUSED)
    scene.turn(119 * SECOND)
    assert len(receiver.ids) == 1
    scene.turn(SECOND)
    assert [item[0] for item in scene.states()] == ["delivered"] * 2
    assert len(receiver.ids) == 3


@pytest.mark.parametrize("answer", [RESET, HANG, (302, {"Location": "/elsewhere"})])
def test_no_answer_and_no_success_are_failures_like_any_other(
    store: Store, receiver: Receiver, clock: FakeClock, answer: str
) -> None:
    patience = [timedelta(seconds=0.5)]

    def send(url: str, body: bytes, headers: Mapping[str, str], timeout: timedelta) -> Reply:
        return post(url, body, headers, patience.pop() if patience else timeout)

    receiver.answers = [answer]
    scene = Scene(store, subscription(receiver.url), clock=clock, post=send)
    scene.turn()
    scene.tell(PAUSED)
    scene.turn()
    (message,) = scene.messages(MessageState.PENDING)
    assert message.attempts == 1 and message.error
    scene.turn(5 * SECOND)
    assert scene.states() == [("delivered", 2, 204)]


def test_a_receiver_that_is_never_there_is_given_up_and_that_is_written_down(
    store: Store, clock: FakeClock
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    scene = Scene(store, subscription(url), clock=clock)
    scene.turn()
    scene.tell(PAUSED)
    for _ in range(400):
        scene.turn(30 * SECOND)
    assert scene.states() == [("failed", MAX_ATTEMPTS, None)]
    (message,) = scene.messages()
    assert message.error == "connection refused" and message.ended_at is not None
    assert len(scene.attempts) == MAX_ATTEMPTS


def test_a_receiver_that_fails_is_asked_with_one_message_not_with_all(
    scene: Scene, receiver: Receiver
) -> None:
    receiver.otherwise = (500, {})
    for _ in range(50):
        scene.tell(PAUSED)
    for _ in range(10):
        scene.turn(SECOND)
    assert len(receiver.ids) < 8
    receiver.otherwise = OK
    for _ in range(12):
        scene.turn(30 * SECOND)
    assert [item[0] for item in scene.states()] == ["delivered"] * 50


def test_messages_of_a_subscription_go_in_their_order(scene: Scene, receiver: Receiver) -> None:
    for number in range(30):
        scene.tell(PAUSED, text=str(number))
    scene.turn()
    assert [item["data"]["message"] for item in receiver.bodies] == [str(n) for n in range(30)]


def test_gone_closes_the_subscription_until_it_has_another_url(
    scene: Scene, receiver: Receiver, clock: FakeClock
) -> None:
    receiver.answers = [(410, {})]
    for _ in range(3):
        scene.tell(PAUSED)
    scene.turn()
    assert scene.states() == [("failed", 1, 410), ("failed", 0, None), ("failed", 0, None)]
    after = Scene(scene.store, *scene.subscriptions, clock=clock)
    after.tell(PAUSED)
    for _ in range(3):
        after.turn(3600 * SECOND)
    assert (len(receiver.ids), len(after.messages())) == (1, 3)
    after.subscriptions = (subscription(f"{receiver.url}/new"),)
    after.turn()
    after.tell(PAUSED)
    after.turn()
    assert (len(receiver.ids), after.states()[-1]) == (2, ("delivered", 1, 204))


def test_who_is_no_longer_there_is_given_up(scene: Scene, receiver: Receiver) -> None:
    receiver.otherwise = (500, {})
    scene.tell(FAILED, release="v2")
    scene.turn()
    scene.subscriptions = (subscription(receiver.url, "other"),)
    scene.turn()
    scene.turn(599 * SECOND)
    # Another process may know it already.
    assert scene.states() == [("pending", 1, 500)] and len(receiver.ids) == 1
    scene.turn(SECOND)
    (message,) = scene.messages()
    assert (message.state, message.error) == (
        MessageState.FAILED, "it is no longer among the notifications",
    )  # fmt: skip
    assert list(scene.store.outbox.read_notices()) == []
    assert list(scene.store.outbox.read_subscriptions()) == []


# Secrets


def test_without_a_key_nothing_is_sent_and_nothing_is_lost(
    scene: Scene, receiver: Receiver
) -> None:
    for value in ("", "plain-text-of-more-than-16", "whsec_c2hvcnQ=", "whsec_***"):
        scene.environ["OPS_SECRET"] = value
        scene.tell(PAUSED)
        scene.turn(600 * SECOND)
        scene.turn(600 * SECOND)
        assert "OPS_SECRET" in scene.error
        assert not value or value not in scene.error
    assert {item[:2] for item in scene.states()} == {("pending", 0)}
    scene.environ["OPS_SECRET"] = SECRET
    scene.turn(600 * SECOND)
    assert [item[0] for item in scene.states()] == ["delivered"] * 4


def test_a_url_may_be_a_secret_and_shows_nowhere(
    store: Store, receiver: Receiver, clock: FakeClock
) -> None:
    scene = Scene(store, subscription("", url_ref=env("OPS_URL")), clock=clock)
    scene.environ["OPS_URL"] = f"{receiver.url}/hunter2"
    scene.turn()
    receiver.answers = [(500, {}), RESET, (410, {})]
    scene.tell(PAUSED)
    said = []
    for _ in range(4):
        scene.turn(300 * SECOND)
        said.append(scene.error)
    shown = f"{said} {scene.messages()} {store.outbox.read_closed()} {scene.attempts}"
    assert len(receiver.ids) == 3
    assert "hunter2" not in shown and SECRET not in shown


@pytest.mark.parametrize("url", ["ftp://ops/", "ops", "http://a\nb/"])
def test_a_secret_that_is_no_url_is_said_to_be_none(
    store: Store, clock: FakeClock, url: str
) -> None:
    scene = Scene(store, subscription("", url_ref=env("OPS_URL")), clock=clock)
    scene.environ["OPS_URL"] = url
    scene.turn()
    scene.tell(PAUSED)
    scene.turn()
    scene.turn()
    assert scene.error == "ops: the value of OPS_URL is no http or https URL"


def test_nothing_is_sent_to_a_metadata_address(store: Store, clock: FakeClock) -> None:
    scene = Scene(store, subscription("http://169.254.169.254/latest"), clock=clock)
    scene.turn()
    scene.tell(PAUSED)
    scene.turn()
    (message,) = scene.messages()
    assert message.error.endswith("is a link-local or metadata address, which is refused")


def test_who_is_to_stop_sends_nothing_any_more(scene: Scene, receiver: Receiver) -> None:
    scene.cancel.set()
    scene.tell(PAUSED)
    scene.turn()
    assert receiver.ids == []
    assert scene.states() == [("pending", 0, None)]
