"""The Kubernetes provider while it is watched: what it knows without asking, and what it does when
the watch breaks."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ctrlplane_gitops.cluster.access import Access
from ctrlplane_gitops.cluster.api import Api
from ctrlplane_gitops.cluster.connection import Answer, Connection
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.resource import CONFIG_MAP, DEPLOYMENT
from ctrlplane_gitops.cluster.watch import WatchType, open_watch
from ctrlplane_gitops.errors import UnreachableError
from ctrlplane_gitops.providers.base import LABEL_PLANE, ProviderSettings
from ctrlplane_gitops.providers.conformance_kit import DB, WEB
from ctrlplane_gitops.providers.conformance_watch import Watched
from ctrlplane_gitops.providers.kubernetes.pace import Pace
from ctrlplane_gitops.providers.kubernetes.provider import KubernetesProvider
from ctrlplane_gitops.state.desired import ProviderConfig
from ctrlplane_gitops.state.key import ResourceKey, instance_key
from ctrlplane_gitops.state.observed import ReplicaPhase
from ctrlplane_gitops.value import replace
from tests.e2e.plane import wait_until
from tests.engines.kubernetes import write_kubeconfig
from tests.engines.outage import Relay, tcp_relay
from tests.kubernetes.rig import Rig
from tests.kubernetes.role import documents
from tests.providers.kubernetes_kit import KubernetesHooks

pytestmark = pytest.mark.kubernetes
OTHER = instance_key("globex", "web")
CHECK = "GET /api/v1/namespaces/kube-system"
# Only 410 is a reason not to go on where it was, and nobody waits for long.
PATIENT = Pace(trust_s=3600, longest_wait_s=0.5, start_s=0)


class Counting(Connection):
    """Writes down what it asks, but for the watches."""

    def __init__(self, access: Access) -> None:
        super().__init__(access, timeout_s=5)
        self.asked: list[str] = []

    def request(self, method: str, path: str, what: str, **options: Any) -> Answer:
        self.asked.append(f"{method} {path}")
        return super().request(method, path, what, **options)


class TestWatch(KubernetesHooks):
    """Pods that only say they run, by a way to the API server that can be cut."""

    image = "app:1"
    relay: Relay
    connection: Counting

    @pytest.fixture
    def provider(self, root: Path) -> Iterator[KubernetesProvider]:
        provider = self.make_provider(self.plane, root)
        provider.pace = PATIENT
        access = provider.site.api.connection.access
        host, _, port = access.server.removeprefix("https://").partition(":")
        near, self.relay = tcp_relay((host, int(port)))
        self.connection = Counting(replace(access, server=f"https://127.0.0.1:{near}"))
        provider.site.api.connection = self.connection
        self.watch = Watched(provider)
        try:
            yield provider
        finally:
            self.watch.end()
            self.relay.close()
            provider.close()
            plain = self.make_provider(self.plane, root)
            self.clean(plain)
            plain.close()

    def asked_for(self, provider: KubernetesProvider, keys: Collection[ResourceKey] | None) -> Any:
        """What one look asks."""
        before = len(self.connection.asked)
        provider.observe(keys)
        return self.connection.asked[before:]

    def settle(self, provider: KubernetesProvider) -> None:
        """Until what there is is known without a list, and Kubernetes has nothing more to do."""
        plain = self.make_provider(self.plane, self.rig.root)

        def is_settled() -> bool:
            found = provider.observe()
            phases = {x.phase for item in found.replica_sets for x in item.replicas}
            is_quiet = self.asked_for(provider, None) == [CHECK]
            return phases <= {ReplicaPhase.RUNNING} and is_quiet and found == plain.observe()

        wait_until(is_settled, patience_s=120)
        plain.close()

    def test_while_nothing_happens_a_look_asks_whether_the_server_answers_and_no_more(
        self, provider: KubernetesProvider, root: Path
    ) -> None:
        for key, replicas in ((WEB, 2), (DB, 1), (OTHER, 1)):
            self.scale(provider, self.make_release(instance=key), replicas)
        self.settle(provider)
        other = self.make_provider(self.plane, root)
        for keys in (None, [WEB], [WEB, OTHER], [instance_key("acme", "nobody")]):
            assert self.asked_for(provider, keys) == [CHECK]
            assert provider.observe(keys) == other.observe(keys)
        before = len(self.connection.asked)
        assert len(provider.read_usage(self.live(provider))) == 2
        assert "GET /api/v1/pods" not in self.connection.asked[before:]
        self.clean_globex(other)
        other.close()

    def clean_globex(self, provider: KubernetesProvider) -> None:
        self.scale(provider, self.make_release(instance=OTHER), 0)

    def test_a_watch_that_is_cut_is_a_gap_and_then_what_there_is_by_then(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(instance=WEB), 2)
        self.scale(provider, self.make_release(instance=DB), 1)
        self.settle(provider)
        self.relay.is_down = True
        assert [gap.provider for gap in provider.observe().gaps] == [self.alias]
        assert [gap.provider for gap in provider.observe([WEB]).gaps] == [self.alias]
        self.kubectl("delete", "deployment/db-v1", "--cascade=foreground", "--wait")
        self.kubectl("delete", "service/web-v1")
        self.relay.is_down = False
        seen = provider.observe()
        assert [item.instance for item in seen.replica_sets] == [WEB], seen
        assert [str(item) for item in seen.replica_sets[0].altered] == [
            "the Service web-v1 is gone"
        ]
        self.settle(provider)
        assert provider.observe() == seen

    def test_a_part_is_right_before_the_whole_was_looked_at_again(
        self, provider: KubernetesProvider
    ) -> None:
        self.scale(provider, self.make_release(instance=WEB), 1)
        self.scale(provider, self.make_release(instance=DB), 1)
        self.settle(provider)
        self.relay.is_down = True
        self.kubectl("scale", "deployment/web-v1", "--replicas=3")
        self.relay.is_down = False
        for _ in range(20):
            [found] = provider.observe([WEB]).replica_sets
            assert len(found.replicas) == 3

    def test_where_the_server_has_forgotten_what_came_since_all_is_listed(
        self, provider: KubernetesProvider, kubernetes_rig: Rig
    ) -> None:
        """410 Gone: it was away, was started anew, and etcd keeps nothing of that time."""
        self.scale(provider, self.make_release(instance=WEB), 1)
        self.scale(provider, self.make_release(instance=DB), 1)
        self.settle(provider)
        api = provider.site.api
        version = api.read_version(DEPLOYMENT)
        self.relay.is_down = True
        self.kubectl("delete", "deployment/db-v1", "--cascade=foreground", "--wait")
        self.kubectl("scale", "deployment/web-v1", "--replicas=2")
        kubernetes_rig.kill_api()
        compact(kubernetes_rig)
        assert provider.observe().gaps
        kubernetes_rig.start_api()
        lists = "GET /apis/apps/v1/deployments"
        before = self.connection.asked.count(lists)
        self.relay.is_down = False
        with (
            pytest.raises(ApiError) as caught,
            open_watch(self.connection, DEPLOYMENT, {LABEL_PLANE: "x"}, version, 5) as stream,
        ):
            list(stream.read())
        assert caught.value.status == 410
        # By itself: nobody has looked yet. The first is of one object, to see how far it has come.
        wait_until(lambda: self.connection.asked.count(lists) >= before + 2)
        [found] = provider.observe().replica_sets
        assert found.instance == WEB
        # Controllers that come back as well may make one pod too many, and take it away again.
        wait_until(lambda: len(provider.observe().replica_sets[0].replicas) == 2)
        self.settle(provider)
        self.watch.told.clear()
        self.kubectl("scale", "deployment/web-v1", "--replicas=1")
        wait_until(lambda: self.watch.told == {WEB})

    def test_an_answer_that_was_lost_is_looked_up(self, provider: KubernetesProvider) -> None:
        """The Deployment was scaled, and we were not told so: nothing known is good enough."""
        self.scale(provider, self.make_release(), 1)
        self.settle(provider)
        api, name = provider.site.api, "web-v1"
        with lost_answer(self.connection), pytest.raises(UnreachableError):
            api.patch(DEPLOYMENT, self.namespace, name, {"spec": {"replicas": 2}})
        assert "GET /apis/apps/v1/deployments" in self.asked_for(provider, None)
        assert len(self.sets(provider)[1].replicas) == 2

    def test_who_may_not_watch_is_told_and_lists(
        self, provider: KubernetesProvider, root: Path
    ) -> None:
        rules = [
            rule | {"verbs": [verb for verb in rule["verbs"] if verb != "watch"]}
            for item in documents("role.yaml")
            for rule in item["rules"]
        ]
        path = write_kubeconfig(self.rig.make_user("no-watch", rules), root / "no-watch.kubeconfig")
        config = ProviderConfig(
            self.alias, "kubernetes", {"namespace": f"{self.prefix}-{{plane}}-{{tenant}}"}
        )
        environ = {"CTRLPLANE_KUBECONFIG": str(path)}
        bound = KubernetesProvider(ProviderSettings(self.plane, config, str(root), environ=environ))
        watch = Watched(bound)
        self.scale(provider, self.make_release(), 1)
        wait_until(lambda: bool(bound.observe().warnings))
        self.settle(provider)
        seen = bound.observe()
        assert seen.replica_sets == provider.observe().replica_sets
        [warning] = seen.warnings
        assert "not watched: cannot watch" in warning and "forbidden" in warning
        watch.end()
        bound.close()

    def test_bookmarks_move_on_what_nothing_happens_to(self, kubernetes_rig: Rig) -> None:
        provider = self.make_provider(self.plane, kubernetes_rig.root)
        api: Api = provider.site.api
        namespace = kubernetes_rig.make_namespace()
        before = api.read_version(CONFIG_MAP)
        kubernetes_rig.client.apply(
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "theirs"},
             "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
                      "template": {"metadata": {"labels": {"a": "b"}},
                                   "spec": {"containers": [{"name": "c", "image": "app:1"}]}}}},
            namespace,
        )  # fmt: skip
        labels = {LABEL_PLANE: "nobody"}
        with open_watch(api.connection, DEPLOYMENT, labels, before, 3) as stream:
            events = list(stream.read())
        assert {event.type for event in events} == {WatchType.BOOKMARK}
        assert events[-1].version > before
        provider.close()


def compact(rig: Rig) -> None:
    """Everything that is not as it is now is forgotten by etcd."""
    address = f"http://127.0.0.1:{rig._ports['etcd']}/v3/kv"

    def ask(what: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(f"{address}/{what}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    now = ask("range", {"key": "YQ=="})["header"]["revision"]
    ask("compaction", {"revision": now, "physical": True})


@contextmanager
def lost_answer(connection: Counting) -> Iterator[None]:
    """The server does it, and says so to nobody."""
    done = connection.request

    def request(*arguments: Any, **options: Any) -> Answer:
        done(*arguments, **options)
        raise UnreachableError("the reply was lost as scripted")

    connection.request = request  # type: ignore[method-assign]
    yield
    del connection.request
