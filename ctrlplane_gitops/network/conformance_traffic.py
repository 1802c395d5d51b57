"""What every router that serves must do with real requests; see ``conformance.py``."""

from __future__ import annotations

import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.network.conformance import CERTIFICATE, RouterConformance
from ctrlplane_gitops.network.conformance_kit import (
    HOST,
    Client,
    Reply,
    Upstream,
    backend,
    load,
    make_certificate,
    route_key,
    wait_until,
)
from ctrlplane_gitops.network.router import Router
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.traffic import (
    HeaderRule,
    Member,
    RouteHealth,
    RouterCapability,
    TrafficCount,
)

HEALTH = RouteHealth("/healthz", timedelta(milliseconds=500), timedelta(milliseconds=400))
Start = Callable[..., Upstream]


class TrafficConformance(RouterConformance):
    """The claims about requests."""

    web_port: int
    secure_port: int

    def choose_host(self) -> str:
        """Where a replica of the tests answers; a router may not take loopback addresses."""
        return "127.0.0.1"

    @pytest.fixture
    def start(self) -> Iterator[Start]:
        """Starts a replica by name; all are down when the test is over."""
        running: list[Upstream] = []

        def run(name: str) -> Upstream:
            running.append(Upstream(name, self.choose_host()))
            return running[-1]

        yield run
        for upstream in running:
            upstream.down()

    def get(self, path: str = "/", host: str = HOST, **headers: str) -> Reply:
        """One request on a fresh connection."""
        client = Client(self.web_port, host)
        try:
            return client.get(path, headers)
        finally:
            client.close()

    def spread(self, count: int) -> Counter[str]:
        """Who answers that many requests of one keep-alive connection; each must be a 200."""
        client = Client(self.web_port)
        replies = [client.get() for _ in range(count)]
        client.close()
        assert {reply.status for reply in replies} == {200}
        return Counter(reply.replica for reply in replies)

    def test_a_request_is_routed_by_its_host(self, router: Router, start: Start) -> None:
        one, two = start("one"), start("two")
        self.put(
            router,
            self.entry(backend(1, 100, one), name="a", hosts=("a.example", "www.a.example")),
            self.entry(backend(1, 100, two), name="b", hosts=("b.example",)),
        )
        assert self.get(host="a.example").replica == "one"
        assert self.get(host="www.a.example").replica == "one"
        assert self.get(host="b.example").replica == "two"
        assert self.get(host="B.Example").replica == "two"
        assert self.get(host=f"b.example:{self.web_port}").replica == "two"
        for unknown in ("c.example", "x.a.example", "a.example.org", "127.0.0.1"):
            assert self.get(host=unknown).status == 404

    def test_a_path_is_a_prefix_that_ends_at_a_slash(self, router: Router, start: Start) -> None:
        root, api, deep = start("root"), start("api"), start("deep")
        self.put(
            router,
            self.entry(backend(1, 100, root)),
            self.entry(backend(1, 100, api), name="api", path="/api"),
            self.entry(backend(1, 100, deep), name="deep", path="/api/deep"),
        )
        expected = {
            "/": "root",
            "/apis": "root",
            "/ap": "root",
            "/x/api": "root",
            "/api": "api",
            "/api/": "api",
            "/api/x": "api",
            "/api?q=1": "api",
            "/api/deeper": "api",
            "/api/deep": "deep",
            "/api/deep/x": "deep",
        }
        found = {path: self.get(path) for path in expected}
        assert {path: reply.replica for path, reply in found.items()} == expected
        assert {path: reply.path for path, reply in found.items()} == {it: it for it in expected}

    def test_without_a_route_for_the_rest_a_path_is_all_that_answers(
        self, router: Router, start: Start
    ) -> None:
        self.put(router, self.entry(backend(1, 100, start("api")), path="/api"))
        assert self.get("/api/x").status == 200
        assert {self.get(path).status for path in ("/", "/apis", "/x")} == {404}

    def test_a_path_is_text_and_no_pattern(self, router: Router, start: Start) -> None:
        self.put(router, self.entry(backend(1, 100, start("r")), path="/a.b(c)$*+;!~"))
        assert self.get("/a.b(c)$*+;!~/x").status == 200
        assert {self.get(path).status for path in ("/aXb(c)$*+;!~", "/a.bc")} == {404}

    def test_a_prefix_is_taken_off_where_asked(self, router: Router, start: Start) -> None:
        replica = start("r")
        self.put(
            router,
            self.entry(backend(1, 100, replica), path="/api", strip_prefix=True),
            self.entry(
                backend(1, 100, replica), name="root", hosts=("root.example",), strip_prefix=True
            ),
        )
        expected = {"/api": "/", "/api/": "/", "/api/x/api": "/x/api", "/api?q=1": "/?q=1"}
        assert {path: self.get(path).path for path in expected} == expected
        assert self.get("/api/x", host="root.example").path == "/api/x"

    def test_an_empty_table_serves_nothing_of_before(self, router: Router, start: Start) -> None:
        self.put(router, self.entry(backend(1, 100, start("r"))))
        assert self.get().status == 200
        self.put(router)
        assert self.get().status == 404

    def test_weights_are_real(self, router: Router, start: Start) -> None:
        stable, canary = [start(f"s{number}") for number in range(3)], start("canary")
        self.put(router, self.entry(backend(1, 90, *stable), backend(2, 10, canary)))
        found = self.spread(1000)
        assert 80 <= found["canary"] <= 120
        assert all(250 <= found[item.replica] <= 350 for item in stable)
        self.put(router, self.entry(backend(1, 0, *stable), backend(2, 100, canary)))
        assert self.spread(50) == {"canary": 50}
        self.put(router, self.entry(backend(1, 100, *stable), backend(2, 0, canary)))
        assert self.spread(60)["canary"] == 0

    def test_a_member_that_died_costs_no_request(self, router: Router, start: Start) -> None:
        self.needs(router, RouterCapability.RETRY)
        members = [start(f"r{number}") for number in range(3)]
        self.put(router, self.entry(backend(1, 100, *members)))
        assert len(self.spread(12)) == 3
        members[0].down()
        assert self.spread(30).keys() == {"r1", "r2"}

    def test_a_share_stays_as_it_is_while_a_member_of_the_other_set_is_down(
        self, router: Router, start: Start
    ) -> None:
        stable, canary = [start(f"s{number}") for number in range(3)], start("canary")
        entry = self.entry(backend(1, 90, *stable), backend(2, 10, canary), health=HEALTH)
        self.put(router, entry)
        stable[0].down()
        # Until it is noticed another member answers instead, perhaps of the other set.
        threading.Event().wait(4 * HEALTH.interval.total_seconds())
        found = self.spread(1000)
        assert 80 <= found["canary"] <= 120
        assert found["s0"] == 0

    def test_changes_under_load_lose_no_request(self, router: Router, start: Start) -> None:
        """Twenty: a replica is added, the one before is taken out and, when that is live, ended;
        in the middle the weights move as in a canary."""
        old, serial = start("r0"), 0
        self.put(router, self.entry(backend(1, 100, old)))
        with load(self.web_port) as met:
            for release in range(2, 7):
                new = start(f"r{release}")
                for weight in (0, 50, 100):
                    shares = backend(release - 1, 100 - weight, old), backend(release, weight, new)
                    self.put(router, self.entry(*shares))
                    serial += 1
                self.put(router, self.entry(backend(release, 100, new)))
                serial += 1
                assert self.get().replica == new.replica
                self.wait_drained(router, old.member)
                old.down()
                old = new
        assert met.failures == []
        assert serial == 20 and set(met.replicas) == {"r0", *(f"r{it}" for it in range(2, 7))}

    def test_members_swapped_at_once_under_load_lose_no_request(
        self, router: Router, start: Start
    ) -> None:
        one, two = [start(f"a{number}") for number in range(2)], [start("b")]
        self.put(router, self.entry(backend(1, 100, *one)))
        with load(self.web_port) as met:
            for number in range(8):
                now = (two, one)[number % 2]
                self.put(router, self.entry(backend(1, 100, *now)))
                assert self.get().replica in {upstream.replica for upstream in now}
        assert met.failures == []
        assert set(met.replicas) == {"a0", "a1", "b"}

    def wait_drained(self, router: Router, member: Member) -> None:
        """As a rollout does: by the count where there is one, else for a while."""
        if RouterCapability.OBSERVABLE_DRAIN in router.capabilities:
            wait_until(lambda: router.count_in_flight([member]) == 0, "the drain")
        else:
            threading.Event().wait(0.1)

    def test_a_slow_request_to_a_member_that_was_taken_out_is_answered(
        self, router: Router, start: Start
    ) -> None:
        old, new = start("old"), start("new")
        self.put(router, self.entry(backend(1, 100, old)))
        replies: list[Reply] = []
        slow = threading.Thread(target=lambda: replies.append(self.get("/slow")))
        slow.start()
        is_counted = RouterCapability.OBSERVABLE_DRAIN in router.capabilities
        if is_counted:
            wait_until(lambda: router.count_in_flight([old.member]) == 1, "the request to arrive")
        else:
            threading.Event().wait(0.3)
        self.put(router, self.entry(backend(2, 100, new)))
        assert self.get().replica == "new"
        if is_counted:
            assert router.count_in_flight([old.member]) == 1
            assert router.count_in_flight([new.member]) == 0
        slow.join()
        assert [(reply.status, reply.replica) for reply in replies] == [(200, "old")]
        if is_counted:
            wait_until(lambda: router.count_in_flight([old.member]) == 0, "the drain")

    def test_a_backend_without_members_is_a_503(self, router: Router, start: Start) -> None:
        self.put(router, self.entry(backend(1, 100)))
        assert self.get().status == 503

    def test_no_other_set_takes_the_share_of_an_empty_one(
        self, router: Router, start: Start
    ) -> None:
        self.put(router, self.entry(backend(1, 50, start("one")), backend(2, 50)))
        client = Client(self.web_port)
        found = Counter(client.get().status for _ in range(100))
        client.close()
        assert found.keys() == {200, 503} and 40 <= found[503] <= 60

    def test_a_header_leads_to_its_release_whatever_the_weights(
        self, router: Router, start: Start
    ) -> None:
        one, two = start("one"), start("two")
        shares = backend(1, 100, one), backend(2, 0, two)
        self.put(router, self.entry(*shares, header=HeaderRule("X-Canary", "yes", 2)))
        assert {self.get(**{"X-Canary": "yes"}).replica for _ in range(10)} == {"two"}
        assert {self.get(**{"X-Canary": "no"}).replica for _ in range(10)} == {"one"}
        assert {self.get().replica for _ in range(10)} == {"one"}
        self.put(router, self.entry(*shares))
        assert self.get(**{"X-Canary": "yes"}).replica == "one"

    def test_a_sticky_client_stays_until_its_release_has_no_share(
        self, router: Router, start: Start
    ) -> None:
        self.needs(router, RouterCapability.STICKY)
        old, new = [start(f"old{it}") for it in range(3)], start("new")
        self.put(router, self.entry(backend(1, 50, *old), backend(2, 50, new), is_sticky=True))
        firsts = [self.get() for _ in range(12)]
        assert len({reply.replica for reply in firsts}) > 1
        first = next(reply for reply in firsts if reply.replica != "new")
        again = {self.get(Cookie=first.cookie).replica for _ in range(12)}
        assert again == {first.replica}
        self.put(router, self.entry(backend(1, 10, *old), backend(2, 90, new), is_sticky=True))
        assert {self.get(Cookie=first.cookie).replica for _ in range(12)} == {first.replica}
        self.put(router, self.entry(backend(1, 0, *old), backend(2, 100, new), is_sticky=True))
        assert {self.get(Cookie=first.cookie).replica for _ in range(12)} == {"new"}

    def test_a_sticky_client_leaves_a_member_that_was_taken_out(
        self, router: Router, start: Start
    ) -> None:
        self.needs(router, RouterCapability.STICKY)
        members = [start(f"r{number}") for number in range(3)]
        self.put(router, self.entry(backend(1, 100, *members), is_sticky=True))
        first = self.get()
        assert {self.get(Cookie=first.cookie).replica for _ in range(6)} == {first.replica}
        left = [upstream for upstream in members if upstream.replica != first.replica]
        self.put(router, self.entry(backend(1, 100, *left), is_sticky=True))
        found = {self.get(Cookie=first.cookie).replica for _ in range(12)}
        assert found <= {upstream.replica for upstream in left}

    def test_tls_shows_the_certificate_of_the_name_asked_for(
        self, router: Router, start: Start, tmp_path: Path
    ) -> None:
        self.needs(router, RouterCapability.CERTIFICATES)
        replica, pems = start("r"), {}
        entries = []
        for name in ("one", "two"):
            key = ResourceKey(Kind.SECRET, "acme", name)
            pems[key] = make_certificate(tmp_path, f"{name}.example")
            entries.append(
                self.entry(
                    backend(1, 100, replica),
                    name=name,
                    hosts=(f"{name}.example",),
                    entry_point="websecure",
                    certificate=key,
                )
            )
        self.put(router, *entries, certificates=pems)
        for key, pem in pems.items():
            assert self.shown_certificate(f"{key.name}.example") in pem.reveal().decode()
            assert self.get_secure(f"{key.name}.example").replica == "r"
        assert self.get(host="one.example").status == 404

    def test_a_renewed_certificate_is_shown_and_no_request_fails(
        self, router: Router, start: Start, tmp_path: Path
    ) -> None:
        self.needs(router, RouterCapability.CERTIFICATES)
        entry = self.entry(
            backend(1, 100, start("r")), entry_point="websecure", certificate=CERTIFICATE
        )
        self.put(router, entry, certificates={CERTIFICATE: make_certificate(tmp_path, HOST)})
        with load(self.secure_port, context=_trusting()) as met:
            for _ in range(2):
                pem = make_certificate(tmp_path, HOST)
                self.put(router, entry, certificates={CERTIFICATE: pem})
                assert self.shown_certificate(HOST) in pem.reveal().decode()
        assert met.failures == [] and met.replicas["r"] > 0

    def shown_certificate(self, host: str) -> str:
        client = Client(self.secure_port, host, _trusting())
        try:
            return client.peer_certificate().strip()
        finally:
            client.close()

    def get_secure(self, host: str) -> Reply:
        client = Client(self.secure_port, host, _trusting())
        try:
            return client.get()
        finally:
            client.close()

    def test_a_killed_router_serves_again_what_it_served(
        self, router: Router, root: Path, start: Start
    ) -> None:
        one, two = start("one"), start("two")
        self.put(router, self.entry(backend(1, 0, one), backend(2, 100, two)))
        self.kill_router(router, root)
        wait_until(lambda: router.observe().gap is not None, "the death to show")
        with pytest.raises(OSError):
            self.get()
        assert self.start_router(router, root)
        assert {self.get().replica for _ in range(5)} == {"two"}

    def test_requests_and_errors_are_counted_by_release(self, router: Router, start: Start) -> None:
        self.needs(router, RouterCapability.COUNTS)
        one, two = start("one"), start("two")
        self.put(router, self.entry(backend(1, 50, one), backend(2, 50, two)))
        before = router.count_traffic()
        # Which turn of its shares a router is at is for it to know: count who answers.
        answered = Counter(self.get(path).replica for path in ("/", "/fail") * 20)
        keys = [(route_key("web"), release) for release in (1, 2)]

        def since() -> list[TrafficCount]:
            now = router.count_traffic()
            return [_subtract(now.get(key), before.get(key)) for key in keys]

        wait_until(lambda: sum(count.requests for count in since()) >= 40, "the counts")
        assert [count.requests for count in since()] == [answered["one"], answered["two"]]
        assert sum(count.errors for count in since()) == 20
        assert all(0 < count.duration_s < 5 for count in since())


def _subtract(now: TrafficCount | None, before: TrafficCount | None) -> TrafficCount:
    now, before = now or TrafficCount(), before or TrafficCount()
    return TrafficCount(
        now.requests - before.requests,
        now.errors - before.errors,
        now.duration_s - before.duration_s,
    )


def _trusting() -> ssl.SSLContext:
    """Shows what the server has; the test compares it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
