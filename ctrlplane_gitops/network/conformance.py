"""What every router must do, as one pytest suite. A router's tests subclass it::

    class TestTraefikConformance(TrafficConformance):
        ports: dict[str, int]            # of the entry points web and websecure
        def make_router(self, plane, root, on_effect) -> Router: ...
        def kill_router(self, router, root) -> None: ...

``RouterConformance`` are the claims about tables, which a router that serves nobody keeps as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import CapabilityError, ProviderError
from ctrlplane_gitops.network.conformance_kit import (
    PATIENCE,
    RouterKit,
    backend,
    make_certificate,
    route_key,
    wait_until,
)
from ctrlplane_gitops.network.router import Router
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.key import Kind, ResourceKey
from ctrlplane_gitops.state.traffic import (
    Backend,
    HeaderRule,
    Member,
    RouteEntry,
    RouteHealth,
    RouterCapability,
    RouteTable,
)

CERTIFICATE = ResourceKey(Kind.SECRET, "acme", "cert")
A, B = Member("conf.acme.web.v1.0", "127.0.0.1", 1), Member("conf.acme.web.v1.1", "127.0.0.1", 2)
C = Member("conf.acme.web.v2.0", "127.0.0.1", 3)


class RouterConformance(RouterKit):
    """The claims about tables."""

    def rich_entries(self) -> tuple[RouteEntry, ...]:
        """Entries that use everything a table can say; a subclass leaves out what its router
        has no capability for."""
        return (
            self.entry(
                backend(1, 90, A, B),
                backend(2, 10, C),
                backend(3, 0),
                hosts=("a.example", "b.example"),
                path="/api",
                strip_prefix=True,
                is_sticky=True,
                header=HeaderRule("X-Canary", "yes", 2),
                health=RouteHealth("/healthz", timedelta(seconds=2), timedelta(milliseconds=500)),
            ),
            self.entry(backend(2, 100, C), hosts=("preview.example",), variant="preview"),
            self.entry(
                backend(1, 100, A),
                name="secure",
                hosts=("tls.example",),
                entry_point="websecure",
                certificate=CERTIFICATE,
            ),
        )

    def test_what_is_read_back_is_the_table(self, router: Router, tmp_path: Path) -> None:
        certificates = {CERTIFICATE: make_certificate(tmp_path, "tls.example")}
        generation = self.put(router, *self.rich_entries(), certificates=certificates)
        state = router.observe()
        entries = sorted(self.rich_entries(), key=lambda item: (item.key, item.variant))
        assert state.table.entries == tuple(entries)
        assert (state.generation, state.is_live, state.gap) == (generation, True, None)
        assert state.faults == ()

    def test_the_same_table_again_is_no_effect(
        self, router: Router, effects: list[str], tmp_path: Path
    ) -> None:
        certificates = {CERTIFICATE: make_certificate(tmp_path, "tls.example")}
        before = self.put(router, *self.rich_entries(), certificates=certificates)
        made = len(effects)
        assert made > 0
        assert self.put(router, *self.rich_entries(), certificates=certificates) == before
        assert effects[made:] == []

    def test_a_changed_table_or_certificate_is_another_generation(
        self, router: Router, tmp_path: Path
    ) -> None:
        self.needs(router, RouterCapability.CERTIFICATES)
        entries = self.rich_entries()
        first, second = (make_certificate(tmp_path, "tls.example") for _ in range(2))
        seen = {
            self.put(router, *entries, certificates={CERTIFICATE: first}),
            self.put(router, *entries, certificates={CERTIFICATE: second}),
            self.put(router, *entries[:2]),
            self.put(router),
        }
        assert len(seen) == 4

    def test_an_empty_table_takes_all_routes_away(self, router: Router) -> None:
        self.put(router, self.entry(backend(1, 100, A)))
        self.put(router)
        assert router.observe().table == RouteTable()

    def test_a_new_router_object_adopts_what_runs(
        self, router: Router, root: Path, effects: list[str]
    ) -> None:
        generation = self.put(router, self.entry(backend(1, 100, A)))
        made = len(effects)
        again = self.make_router(self.plane, root, effects.append)
        assert not again.ensure_running()
        assert again.observe() == router.observe()
        assert again.apply(router.observe().table, {}) == generation
        assert effects[made:] == []
        again.close()

    def test_a_router_that_does_not_run_is_a_gap_not_an_empty_table(
        self, router: Router, root: Path
    ) -> None:
        generation = self.put(router, self.entry(backend(1, 100, A)))
        self.stop_router(router, root)
        state = router.observe()
        assert state.gap is not None and not state.is_live
        assert not router.wait_live(generation, timedelta(milliseconds=200)).is_live

    def test_a_killed_router_comes_back_with_the_same_table(
        self, router: Router, root: Path
    ) -> None:
        generation = self.put(router, self.entry(backend(1, 70, A, B), backend(2, 30, C)))
        before = router.observe()
        self.kill_router(router, root)
        wait_until(lambda: router.observe().gap is not None, "the death to show")
        assert self.start_router(router, root)
        report = router.wait_live(generation, PATIENCE)
        assert report.is_live, report.message
        assert router.observe() == before

    def test_an_older_generation_is_not_live(self, router: Router) -> None:
        old = self.put(router, self.entry(backend(1, 100, A)))
        self.put(router, self.entry(backend(1, 100, A, B)))
        report = router.wait_live(old, timedelta(milliseconds=200))
        assert not report.is_live and report.message

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda entry: replace(entry, backends=(Backend(1, 90),)), "sum to 90"),
            (lambda entry: replace(entry, hosts=("a`) || Path(`/",)), "host name"),
            (lambda entry: replace(entry, path="/a b"), "not a path"),
            (lambda entry: replace(entry, entry_point="nowhere"), "nowhere"),
            (lambda entry: replace(entry, certificate=CERTIFICATE), "no TLS"),
        ],
        ids=["weights", "host", "path", "entry-point", "certificate"],
    )
    def test_an_unsound_table_is_refused_before_anything_is_written(
        self,
        router: Router,
        effects: list[str],
        spoil: Callable[[RouteEntry], RouteEntry],
        reason: str,
    ) -> None:
        sound = self.entry(backend(1, 100, A))
        self.put(router, sound)
        before, made = router.observe(), len(effects)
        other = self.entry(backend(1, 100, B), name="api", hosts=("api.example",))
        with pytest.raises(ProviderError, match=reason):
            router.apply(RouteTable((other, spoil(sound))), {CERTIFICATE: SecretValue(b"x")})
        assert (router.observe(), len(effects)) == (before, made)

    def test_a_place_that_is_taken_is_refused_with_both_names(self, router: Router) -> None:
        mine = self.entry(backend(1, 100, A))
        theirs = replace(mine, key=route_key("shop", "zeta"))
        with pytest.raises(ProviderError, match=r"route/zeta/shop: .*route/acme/web"):
            router.apply(RouteTable((mine, theirs)), {})

    def test_a_certificate_without_its_value_is_refused(
        self, router: Router, effects: list[str]
    ) -> None:
        self.needs(router, RouterCapability.CERTIFICATES)
        made = len(effects)
        with pytest.raises(ProviderError, match="secret/acme/cert"):
            router.apply(RouteTable((self.rich_entries()[2],)), {})
        assert effects[made:] == []

    def test_a_certificate_whose_value_is_not_known_now_stays(
        self, router: Router, effects: list[str], tmp_path: Path
    ) -> None:
        """The specs of its tenant may be broken, or somebody removes only another's."""
        self.needs(router, RouterCapability.CERTIFICATES)
        entries = self.rich_entries()
        noisy = b"# site\n" + make_certificate(tmp_path, "tls.example").reveal()
        certificates = {CERTIFICATE: SecretValue(noisy)}
        before, made = self.put(router, *entries, certificates=certificates), len(effects)
        assert self.put(router, *entries) == before
        assert effects[made:] == []
        without = [item for item in entries if item.certificate or item.key != entries[0].key]
        self.put(router, *without)
        assert router.observe().table == RouteTable(tuple(without))
        self.put(router)
        with pytest.raises(ProviderError, match="secret/acme/cert"):
            router.apply(RouteTable((entries[2],)), {})

    def test_a_certificate_with_another_key_is_refused_and_not_shown(
        self, router: Router, effects: list[str], tmp_path: Path
    ) -> None:
        self.needs(router, RouterCapability.CERTIFICATES)
        made = len(effects)
        one, two = (make_certificate(tmp_path, host).reveal() for host in ("a.test", "b.test"))
        chain, key = one.partition(b"-----BEGIN PRIVATE")[0], two.partition(b"CATE-----\n")[2]
        for value in (chain + key, chain, b"hunter22"):
            with pytest.raises(ProviderError, match="secret/acme/cert") as caught:
                router.apply(
                    RouteTable((self.rich_entries()[2],)), {CERTIFICATE: SecretValue(value)}
                )
            assert "hunter22" not in str(caught.value) and "BEGIN" not in str(caught.value)
        assert effects[made:] == []

    def test_what_cannot_be_counted_is_not_made_up(self, router: Router) -> None:
        if RouterCapability.OBSERVABLE_DRAIN not in router.capabilities:
            assert router.count_in_flight([A]) is None
        if RouterCapability.COUNTS not in router.capabilities:
            with pytest.raises(CapabilityError, match="counts"):
                router.count_traffic()

    def test_what_is_not_ours_is_left_alone(self, router: Router, root: Path) -> None:
        stranger = self.written_dir(root) / "stranger.yml"
        stranger.write_text("# theirs")
        self.put(router, self.entry(backend(1, 100, A)))
        self.put(router)
        assert stranger.read_text() == "# theirs"
