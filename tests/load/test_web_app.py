"""The application under test behaves: what is asked of it comes, and SIGTERM loses nothing."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections import Counter

from ctrlplane_gitops.clock import monotonic_s
from tests.load.held import held_events, held_websocket
from tests.load.replica import Replica, running_replicas
from tests.load.report import Shape
from tests.load.run import run_load

HOST = "shop.acme.example"


def ask(port: int, path: str = "/", method: str = "GET", body: bytes = b"") -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    connection.request(method, path, body or None)
    reply = connection.getresponse()
    found = {name.lower(): text for name, text in reply.getheaders()}
    found["body"] = reply.read().decode()
    connection.close()
    return reply.status, found


def test_an_answer_says_who_gave_it_and_what_arrived() -> None:
    with running_replicas() as replicas:
        web = replicas.start("web.3", VERSION="v9", HEALTH="503")
        status, found = ask(web.port, "/api/x?y=1", "POST", b"z" * 70_000)
        assert (status, found["body"]) == (200, "v9")
        assert (found["x-version"], found["x-replica"]) == ("v9", "web.3")
        assert (found["x-path"], found["x-received"]) == ("/api/x?y=1", "70000")
        assert ask(web.port, "/healthz")[0] == 503
        began = monotonic_s()
        assert ask(web.port, "/api/slow?s=0.4")[1]["body"] == "v9"
        assert monotonic_s() - began >= 0.4


def test_errors_are_spread_evenly_and_do_not_touch_the_health() -> None:
    with running_replicas() as replicas:
        web = replicas.start("r", ERROR_PERCENT="20", DELAY_MS="1")
        statuses = [ask(web.port)[0] for _ in range(50)]
        assert Counter(statuses[:25])[500] == Counter(statuses[25:])[500] == 5
        assert ask(web.port, "/healthz")[0] == 200


def test_sigterm_answers_what_is_in_flight_and_what_has_connected() -> None:
    with running_replicas() as replicas:
        web = replicas.start("r")
        kept = http.client.HTTPConnection("127.0.0.1", web.port, timeout=15)
        kept.request("GET", "/")
        kept.getresponse().read()
        replies: list[tuple[int, dict]] = []
        slow = threading.Thread(target=lambda: replies.append(ask(web.port, "/slow?s=1")))
        slow.start()
        threading.Event().wait(0.3)
        with socket.create_connection(("127.0.0.1", web.port), 15) as connected:
            web.process.terminate()
            assert kept.sock is not None and kept.sock.recv(1) == b""
            connected.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"Connection: close" in connected.recv(65536)
            assert connected.recv(1) == b""
        slow.join()
        assert web.process.wait(15) == 0
        kept.close()
    status, found = replies[0]
    assert (status, found["connection"]) == (200, "close")


def test_an_idle_server_leaves_at_once() -> None:
    with running_replicas() as replicas:
        web = replicas.start("r")
        with socket.create_connection(("127.0.0.1", web.port)):
            began = monotonic_s()
            assert web.stop() == 0
        assert monotonic_s() - began < 5


def end_held(web: Replica) -> dict[str, str]:
    """How connections that are held end when the application is told to."""
    with held_websocket(web.port, HOST) as socket_, held_events(web.port, HOST) as events:
        assert socket_.how == "" and events.how == ""
        socket_.wait_count(2)
        events.wait_count(2)
        assert (socket_.version, events.replica) == ("1", "r")
        began = monotonic_s()
        assert web.stop() == 0
        for held in (socket_, events):
            while not held.how:
                threading.Event().wait(0.02)
            assert held.ended_s is not None and held.ended_s >= began
    return {"websocket": socket_.how, "events": events.how}


def test_streams_are_ended_as_their_protocol_ends_them() -> None:
    with running_replicas() as replicas:
        assert end_held(replicas.start("r")) == {"websocket": "closed 1001", "events": "ended"}


def test_streams_that_are_cut_are_told_apart() -> None:
    with running_replicas() as replicas:
        web = replicas.start("r")
        with held_websocket(web.port, HOST) as socket_, held_events(web.port, HOST) as events:
            socket_.wait_count(1)
            events.wait_count(1)
            web.kill()
            while not (socket_.how and events.how):
                threading.Event().wait(0.02)
        assert socket_.is_lost and events.is_lost, json.dumps([socket_.how, events.how])
        web = replicas.start("r2")
        with held_websocket(web.port, HOST) as socket_, held_websocket(web.port, HOST, "/") as none:
            socket_.wait_count(1)
        assert (socket_.how, socket_.is_lost) == ("left", False)
        assert (none.how, none.status) == ("refused", 200)


def test_it_keeps_up_with_four_hundred_a_second() -> None:
    """Where the machine is busy the load says by how much it was late; answers come anyway."""
    with running_replicas() as replicas:
        web = replicas.start("r")
        with run_load(web.port, HOST, Shape(rate=400, slow_s=0.5)) as load:
            load.gather(800)
        assert load.report.failures == [], load.report.summary()
