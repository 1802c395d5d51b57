"""The memory provider: conformance in memory and in a file, and its scripted faults."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import CapabilityError, UnreachableError, UsageError
from ctrlplane_gitops.providers.base import Capability, Provider, ProviderSettings
from ctrlplane_gitops.providers.conformance import ProviderConformance
from ctrlplane_gitops.providers.conformance_kit import WEB, ConformanceKit
from ctrlplane_gitops.providers.memory import MemoryProvider
from ctrlplane_gitops.providers.memory_world import MemoryWorld
from ctrlplane_gitops.state.action import Material, PrepareRelease, ScaleReplicaSet
from ctrlplane_gitops.state.desired import Json, ProviderConfig
from ctrlplane_gitops.state.observed import ObservedReplica, ReplicaPhase
from ctrlplane_gitops.state.usage import Usage


def build(root: Path, options: Json | None = None, world: MemoryWorld | None = None):
    config = ProviderConfig("here", "memory", options or {})
    return MemoryProvider(ProviderSettings("conf", config, str(root)), world)


class MemoryHooks(ConformanceKit):
    def kill_replica(self, provider: Provider, replica: ObservedReplica) -> None:
        assert isinstance(provider, MemoryProvider)
        provider.kill(replica.name)

    def spend(self, provider: Provider, replica: ObservedReplica) -> None:
        assert isinstance(provider, MemoryProvider)
        before = provider.usages.get(replica.name, Usage(0.0))
        provider.usages[replica.name] = Usage((before.cpu_s or 0) + 0.1, 9 << 20)

    @contextmanager
    def break_provider(self, provider: Provider) -> Iterator[None]:
        assert isinstance(provider, MemoryProvider)
        provider.faults.gap = "out as scripted"
        yield
        provider.faults.gap = None


class TestInMemory(MemoryHooks, ProviderConformance):
    is_watched = True

    @pytest.fixture(autouse=True)
    def one_world(self) -> None:
        self.world = MemoryWorld()

    def make_provider(self, plane: str, root: Path) -> Provider:
        config = ProviderConfig("here", "memory", {"watch": True})
        return MemoryProvider(ProviderSettings(plane, config, str(root)), self.world)


class TestInFile(MemoryHooks, ProviderConformance):
    is_watched = True

    def make_provider(self, plane: str, root: Path) -> Provider:
        config = ProviderConfig("here", "memory", {"path": "world.json", "watch": True})
        return MemoryProvider(ProviderSettings(plane, config, str(root)))


def scale(provider: MemoryProvider, replicas: int):
    release = TestInFile().make_release()
    return provider.perform(ScaleReplicaSet(WEB, "here", release, replicas), Material())


def live(provider: MemoryProvider) -> list[str]:
    return [item.name for found in provider.observe().replica_sets for item in found.live]


def test_a_provider_that_cannot_measure_says_so(tmp_path: Path) -> None:
    provider = build(tmp_path)
    provider.capabilities -= {Capability.USAGE}
    with pytest.raises(CapabilityError, match="'usage'"):
        provider.read_usage(())


def test_a_failed_effect_does_not_happen_and_the_next_try_converges(tmp_path: Path) -> None:
    provider = build(tmp_path, {"failEffects": [2]})
    outcome = scale(provider, 3)
    assert outcome.error is not None and outcome.error.is_retryable
    assert live(provider) == ["conf.acme.web.v1.0"]
    assert scale(provider, 3).is_ok
    assert len(live(provider)) == 3


def test_an_effect_whose_reply_is_lost_did_happen(tmp_path: Path) -> None:
    provider = build(tmp_path, {"loseReplies": [1]})
    outcome = scale(provider, 1)
    assert isinstance(outcome.error, UnreachableError)
    assert live(provider) == ["conf.acme.web.v1.0"]
    assert scale(provider, 1).effects == 0


def test_replicas_scripted_to_never_get_ready_stay_starting(tmp_path: Path) -> None:
    provider = build(tmp_path, {"neverReady": ["rev1"]})
    scale(provider, 1)
    assert provider.observe().replica_sets[0].replicas[0].phase is ReplicaPhase.STARTING


def test_a_missing_image_fails_the_preparation(tmp_path: Path) -> None:
    provider = build(tmp_path, {"missingImages": ["shop:2"]})
    hooks = TestInFile()
    hooks.image = "shop:2"
    outcome = provider.perform(PrepareRelease(WEB, "here", hooks.make_release()), Material())
    assert outcome.error is not None and outcome.error.code == "image"


def test_calls_and_effects_are_counted(tmp_path: Path) -> None:
    provider = build(tmp_path, {"path": "world.json"})
    scale(provider, 2)
    assert (provider.effect_count, provider.observe_calls) == (2, 0)
    provider.observe()
    assert provider.observe_calls == 1
    assert build(tmp_path, {"path": "world.json"}).world.read().effects == 2


def test_effects_are_told_before_and_after(tmp_path: Path) -> None:
    told: list[str] = []
    config = ProviderConfig("here", "memory")
    settings = ProviderSettings("conf", config, str(tmp_path), on_effect=told.append)
    scale(MemoryProvider(settings), 1)
    assert told == ["start:conf.acme.web.v1.0"] * 2


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'pth'"):
        build(tmp_path, {"pth": "x"})


def test_logs_and_exec_are_refused_by_capability(tmp_path: Path) -> None:
    provider = build(tmp_path)
    with pytest.raises(CapabilityError, match="logs"):
        provider.read_logs("x", tail=None, is_follow=False)
    with pytest.raises(CapabilityError, match="exec"):
        provider.execute("x", ["true"], timedelta(seconds=1))


def test_every_replica_has_an_address_of_its_own(tmp_path: Path) -> None:
    """As a route table must be able to tell them apart."""
    provider = build(tmp_path)
    scale(provider, 5)
    replicas = [x for item in provider.observe().replica_sets for x in item.replicas]
    ends = [(end.port, end.host, end.number) for x in replicas for end in x.endpoints]
    assert len(ends) == len(set(ends)) == 5


def test_what_another_process_changes_in_the_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "world.json"
    here, there = MemoryWorld(path), MemoryWorld(path)
    for writer, reader in ((here, there), (there, here), (there, here), (here, there)):
        with writer.change() as world:
            world.effects += 1
        assert reader.read() == writer.read() == world
    assert here.read().effects == 4
    with pytest.raises(ZeroDivisionError), there.change() as world:
        world.effects = 1 // 0
    assert there.read().effects == here.read().effects == 4
    path.unlink()
    assert here.read().effects == there.read().effects == 0


def test_a_change_that_raises_leaves_everything_as_it_was(tmp_path: Path) -> None:
    provider = build(tmp_path)
    scale(provider, 3)
    world = provider.world
    before, own = world.read(), world.read_instance("conf", "acme", "web")
    first, second, third = sorted(before.replicas)
    with pytest.raises(RuntimeError), world.change() as draft:
        draft.replicas[first] = replace(draft.replicas[first], tenant="other")
        draft.replicas[first] = replace(draft.replicas[first], reason="twice")
        draft.replicas["new"] = draft.replicas.pop(second)
        del draft.replicas[third]
        draft.replicas.clear()
        draft.volumes.add(("conf", "acme", "web", "data"))
        draft.leftovers.add(("conf", "acme", "web", 1))
        raise RuntimeError
    after = world.read()
    assert dict(after.replicas) == dict(before.replicas) and after == before
    by_name = sorted(world.read_instance("conf", "acme", "web"), key=lambda row: row.name)
    assert by_name == sorted(own, key=lambda row: row.name) and len(own) == 3
    assert world.read_instance("conf", "other", "web") == []
