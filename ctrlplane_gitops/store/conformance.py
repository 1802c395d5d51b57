"""What every store must do, as one pytest suite. A store's tests subclass it::

class TestSqliteConformance(StoreConformance):
    def open_store(self, root: Path) -> Store: ...
"""

from __future__ import annotations

import threading
from pathlib import Path

from ctrlplane_gitops.diagnostics import Origin
from ctrlplane_gitops.state.desired import DesiredResource
from ctrlplane_gitops.state.key import Kind, ResourceKey, tenant_key
from ctrlplane_gitops.state.recorded import (
    Intent,
    Order,
    RecordBatch,
    RecordedInstance,
    RecordedResource,
    RecordedState,
    RolloutPhase,
    RolloutStatus,
)
from ctrlplane_gitops.state.template import ReleaseState
from ctrlplane_gitops.store.base import Fence, Store
from ctrlplane_gitops.store.conformance_delivery import DeliveryClaims
from ctrlplane_gitops.store.conformance_kit import (
    DB,
    FULL_AUDIT,
    FULL_BATCH,
    FULL_EVENT,
    FULL_INSTANCE,
    FULL_INTENT,
    FULL_RELEASE,
    FULL_RESOURCE,
    NOW,
    SECOND,
    WEB,
    StoreKit,
    find_defaults,
    make_event,
    make_release,
)
from ctrlplane_gitops.store.conformance_lease import LeaseClaims
from ctrlplane_gitops.store.conformance_listing import ListingClaims
from ctrlplane_gitops.store.conformance_log import LogClaims
from ctrlplane_gitops.store.conformance_outbox import OutboxClaims
from ctrlplane_gitops.store.conformance_retained import RetainedClaims
from ctrlplane_gitops.value import replace


class RecordClaims(StoreKit):
    """What is written down is what is read, by whoever opens the store next."""

    def test_a_new_store_is_empty_and_has_no_identity(self, store: Store) -> None:
        assert store.load_state() == RecordedState()
        assert not store.read_events()
        assert not store.read_audit()
        assert not store.read_open_intents()
        assert store.read_blob("aa") is None
        assert store.read_lease("apply") is None

    def test_every_field_of_every_record_survives(
        self, store: Store, fence: Fence, root: Path
    ) -> None:
        assert find_defaults(FULL_BATCH) == []
        store.record(FULL_BATCH, fence)
        after = self.reopen(store, root)
        assert after.load_state() == RecordedState(
            "pla_1", {WEB: FULL_RESOURCE}, {WEB: FULL_INSTANCE}, {WEB: (FULL_RELEASE,)}
        )
        assert self.events(after) == [FULL_EVENT]
        assert self.audit(after) == [FULL_AUDIT]
        assert after.read_blob("aa") == bytes(range(256))
        assert after.read_blob("bb") == b""
        after.close()

    def test_every_kind_phase_and_state_survives(
        self, store: Store, fence: Fence, root: Path
    ) -> None:
        keys = [ResourceKey(kind, "acme", "web") for kind in Kind]
        keys += [tenant_key("acme"), ResourceKey(Kind.CONTROL_PLANE, "", "prod")]
        resources = tuple(RecordedResource(key, "f", "{}") for key in keys)
        instances = tuple(
            RecordedInstance(WEB._replace(name=f"web-{phase.lower()}"), "a", None, None,
                             RolloutStatus(phase))
            for phase in RolloutPhase
        )  # fmt: skip
        states = enumerate(ReleaseState)
        releases = tuple(replace(make_release(number), state=state) for number, state in states)
        store.record(
            RecordBatch(resources=resources, instances=instances, releases=releases), fence
        )
        after = self.reopen(store, root)
        assert after.load_state() == RecordedState(
            None,
            {item.key: item for item in resources},
            {item.key: item for item in instances},
            {WEB: releases},
        )
        after.close()

    def test_a_put_replaces_by_key(self, store: Store, fence: Fence) -> None:
        store.record(FULL_BATCH, fence)
        changed = RecordBatch(
            plane_id="pla_2",
            resources=(RecordedResource(WEB, "f2", "{}"),),
            instances=(RecordedInstance(WEB, "local"),),
            releases=(replace(make_release(12)),),
        )
        store.record(changed, fence)
        assert store.load_state() == RecordedState(
            "pla_2",
            {WEB: changed.resources[0]},
            {WEB: changed.instances[0]},
            {WEB: changed.releases},
        )

    def test_the_identity_stays_when_a_batch_has_none(self, store: Store, fence: Fence) -> None:
        store.record(RecordBatch(plane_id="pla_1"), fence)
        store.record(RecordBatch(resources=(FULL_RESOURCE,)), fence)
        assert store.load_state().plane_id == "pla_1"

    def test_a_removal_takes_what_it_names_and_nothing_else(
        self, store: Store, fence: Fence
    ) -> None:
        secret = ResourceKey(Kind.SECRET, WEB.tenant, WEB.name)
        kept = RecordedResource(secret, "f", "{}")
        other = RecordedInstance(DB, "local")
        releases = (make_release(11), make_release(12), make_release(12, DB))
        store.record(
            RecordBatch(
                resources=(FULL_RESOURCE, kept), instances=(FULL_INSTANCE, other), releases=releases
            ),
            fence,
        )
        removal = RecordBatch(
            removed_resources=(WEB,), removed_instances=(WEB,), removed_releases=((WEB, 12),)
        )
        store.record(removal, fence)
        store.record(removal, fence)
        assert store.load_state() == RecordedState(
            None, {secret: kept}, {DB: other}, {WEB: releases[:1], DB: releases[2:]}
        )

    def test_an_order_needs_no_lease_and_the_last_one_counts(
        self, store: Store, fence: Fence, root: Path
    ) -> None:
        order = Order(WEB, 3, is_paused=True, is_aborted=True, is_full=True, promoted=2)
        store.give_order(replace(order, target=2), make_event(1), FULL_AUDIT)
        store.give_order(order, FULL_EVENT, replace(FULL_AUDIT, id="aud_second"))
        other = Order(DB, 1)
        store.give_order(other, make_event(3), replace(FULL_AUDIT, id="aud_third"))
        after = self.reopen(store, root)
        assert after.read_orders() == {WEB: order, DB: other} == after.load_state().orders
        assert after.load_state(["nobody"]).orders == {}
        assert FULL_EVENT in self.events(after)
        assert len(after.read_audit()) == 3
        after.record(RecordBatch(removed_orders=(WEB,)), fence)
        assert after.read_orders() == {DB: other}
        after.close()

    def test_releases_are_sorted_by_number(self, store: Store, fence: Fence) -> None:
        for number in (10, 2, 1, 9):
            store.record(RecordBatch(releases=(make_release(number),)), fence)
        numbers = [item.number for item in store.load_state().releases[WEB]]
        assert numbers == [1, 2, 9, 10]

    def test_what_was_loaded_does_not_change(self, store: Store, fence: Fence) -> None:
        store.record(FULL_BATCH, fence)
        loaded = store.load_state()
        store.record(RecordBatch(removed_releases=((WEB, 12),), removed_instances=(WEB,)), fence)
        assert loaded.releases[WEB] == (FULL_RELEASE,)
        assert loaded.instances[WEB] == FULL_INSTANCE

    def test_what_is_known_changes_nothing_of_what_is_loaded(
        self, store: Store, fence: Fence
    ) -> None:
        store.record(FULL_BATCH, fence)
        plain = store.load_state()
        origin = Origin("elsewhere.yaml", 3)
        text, mark = FULL_RESOURCE.attributes_json, FULL_RESOURCE.fingerprint
        for known in (
            DesiredResource(WEB, text, mark, origin),
            DesiredResource(WEB, text, mark, Origin(FULL_RESOURCE.path), is_protected=True),
            DesiredResource(WEB, '{"a":1}', "another", origin),
            DesiredResource(DB, text, mark, origin),
        ):
            assert store.load_state(known={known.key: known}) == plain
            assert store.load_state([WEB.tenant], {known.key: known}) == plain

    def test_contents_are_kept_by_digest(self, store: Store, fence: Fence) -> None:
        release = replace(FULL_RELEASE, state=ReleaseState.ACTIVE)
        store.record(RecordBatch(blobs={"aa": b"\x00a"}, releases=(release,)), fence)
        store.record(RecordBatch(blobs={"aa": b"\x00a", "bb": b"b"}), fence)
        found = [store.read_blob(digest) for digest in ("aa", "bb", "cc")]
        assert found == [b"\x00a", b"b", None]

    def test_a_batch_is_seen_whole_or_not_at_all(
        self, store: Store, fence: Fence, root: Path
    ) -> None:
        """Every batch has the same text in every record; a reader that sees two has seen half."""
        reader, seen, is_over = self.open_store(root), set[int](), threading.Event()

        def read() -> None:
            while not is_over.is_set():
                state = reader.load_state()
                texts = {state.plane_id or "0"}
                texts |= {item.fingerprint for item in state.resources.values()}
                texts |= {item.provider for item in state.instances.values()}
                texts |= {item.revision for found in state.releases.values() for item in found}
                seen.add(len(texts - {"0"}))

        thread = threading.Thread(target=read)
        thread.start()
        try:
            for number in range(1, 60):
                text = str(number)
                store.record(
                    RecordBatch(
                        plane_id=text,
                        resources=(replace(FULL_RESOURCE, fingerprint=text),),
                        instances=(RecordedInstance(WEB, text), RecordedInstance(DB, text)),
                        releases=(replace(FULL_RELEASE, revision=text),),
                    ),
                    fence,
                )
        finally:
            is_over.set()
            thread.join()
            reader.close()
        assert seen <= {0, 1}


class IntentClaims(StoreKit):
    """Intents."""

    def test_an_intent_is_open_until_its_outcome_is_recorded(
        self, store: Store, fence: Fence, root: Path
    ) -> None:
        first = Intent("int_1", NOW, WEB.address, "scale v1 to 1")
        second = Intent("int_0", NOW + SECOND, DB.address, "scale v1 to 2", None, "")
        store.record(RecordBatch(intents=(second, first, FULL_INTENT)), fence)
        assert list(store.read_open_intents()) == [first, second]
        store.record(
            RecordBatch(intents=(replace(first, closed_at=NOW + SECOND, outcome="ok"),)), fence
        )
        after = self.reopen(store, root)
        assert list(after.read_open_intents()) == [second]
        after.close()


class StoreConformance(
    RecordClaims,
    IntentClaims,
    LogClaims,
    ListingClaims,
    RetainedClaims,
    LeaseClaims,
    DeliveryClaims,
    OutboxClaims,
):
    """All claims."""
