"""What every store must do about lists in pages; see ``conformance.py``."""

from __future__ import annotations

from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key
from ctrlplane_gitops.state.recorded import RecordBatch, RecordedResource
from ctrlplane_gitops.store.base import Fence, Store
from ctrlplane_gitops.store.conformance_kit import (
    DB,
    FULL_RELEASE,
    FULL_RESOURCE,
    WEB,
    StoreKit,
    make_release,
)
from ctrlplane_gitops.value import replace

_OTHER = instance_key("zen", "app")


def _resource(kind: Kind, tenant: str, name: str) -> RecordedResource:
    return replace(FULL_RESOURCE, key=ResourceKey(kind, tenant, name))


class ListingClaims(StoreKit):
    """A list comes in pages that leave nothing out and show nothing twice."""

    def test_an_empty_store_lists_nothing(self, store: Store) -> None:
        assert not store.read_resources(Kind.ROUTE)
        assert not store.read_releases()

    def test_resources_are_listed_by_kind_in_pages(self, store: Store, fence: Fence) -> None:
        # A name sorts by itself: "acme-x" is after "acme", whatever the names below are.
        tenants = ("acme-x", "zen", "acme")
        routes = [_resource(Kind.ROUTE, tenant, name) for tenant in tenants for name in ("b", "a")]
        others = (_resource(Kind.SECRET, "acme", "a"), FULL_RESOURCE)
        store.record(RecordBatch(resources=(*routes, *others)), fence)
        ordered = sorted(routes, key=lambda item: item.key)
        assert list(store.read_resources(Kind.ROUTE)) == ordered
        found: list[RecordedResource] = []
        while True:
            after = (found[-1].key.tenant, found[-1].key.name) if found else None
            page = store.read_resources(Kind.ROUTE, after=after, limit=4)
            assert len(page) <= 4
            if not page:
                break
            found.extend(page)
        assert found == ordered
        some = store.read_resources(Kind.ROUTE, ["zen", "acme"], ("acme", "a"), 2)
        assert [item.key for item in some] == [
            ResourceKey(Kind.ROUTE, "acme", "b"),
            ResourceKey(Kind.ROUTE, "zen", "a"),
        ]
        assert not store.read_resources(Kind.ROUTE, [])

    def test_releases_are_listed_from_the_newest_of_each_instance(
        self, store: Store, fence: Fence
    ) -> None:
        releases = [make_release(number, key) for key in (WEB, _OTHER, DB) for number in (1, 2, 10)]
        store.record(RecordBatch(releases=(*releases, FULL_RELEASE)), fence)
        everything = list(store.read_releases())
        assert [(item.instance, item.number) for item in everything] == [
            *((DB, number) for number in (10, 2, 1)),
            *((WEB, number) for number in (12, 10, 2, 1)),
            *((_OTHER, number) for number in (10, 2, 1)),
        ]
        assert everything[3] == FULL_RELEASE
        found = everything[:0]
        while True:
            last = found[-1] if found else None
            after = (last.instance.tenant, last.instance.name, last.number) if last else None
            page = store.read_releases(after=after, limit=2)
            if not page:
                break
            found.extend(page)
        assert found == everything
        assert [item.number for item in store.read_releases(["acme"], instance="db")] == [10, 2, 1]
        assert not store.read_releases(["zen"], instance="db")
        assert not store.read_releases([])
