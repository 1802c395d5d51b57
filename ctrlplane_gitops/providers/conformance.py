"""What every provider must do, as one pytest suite. A provider's tests subclass it::

    class TestMemoryConformance(ProviderConformance):
        def make_provider(self, plane: str, root: Path) -> Provider: ...
        def kill_replica(self, provider: Provider, replica: ObservedReplica) -> None: ...

Hooks with a default: ``image make_release path observable_text break_provider spend
is_usage_asked is_watched`` (in the kit).
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.base import Capability, Keeping, Provider
from ctrlplane_gitops.providers.conformance_inside import InsideClaims
from ctrlplane_gitops.providers.conformance_kit import (
    APP,
    BUSY,
    DB,
    STUBBORN,
    WEB,
    ConformanceKit,
    blob_digest,
    wait_until,
)
from ctrlplane_gitops.providers.conformance_watch import WatchClaims
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.action import (
    Material,
    PrepareRelease,
    RemoveInstance,
    RemoveTenant,
    ScaleReplicaSet,
    UpdateResources,
)
from ctrlplane_gitops.state.desired import Resources
from ctrlplane_gitops.state.key import Kind, ResourceKey, tenant_key
from ctrlplane_gitops.state.observed import ReplicaPhase
from ctrlplane_gitops.state.template import (
    FileMount,
    SecretMount,
    SecretType,
    Volume,
)


class ProviderConformance(InsideClaims, WatchClaims, ConformanceKit):
    """The claims."""

    def test_scaling_up_makes_running_replicas_with_deterministic_names(
        self, provider: Provider
    ) -> None:
        outcome = self.scale(provider, self.make_release(), 2)
        names = [replica.name for replica in self.live(provider)]
        assert names == [f"{self.plane}.acme.web.v1.0", f"{self.plane}.acme.web.v1.1"]
        assert [replica.index for replica in self.live(provider)] == [0, 1]
        assert outcome.effects > 0
        assert self.sets(provider)[1].revision == "rev1"
        assert self.sets(provider)[1].provider == self.alias

    def test_every_replica_has_an_endpoint_and_a_start_time(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(), 2)
        for replica in self.live(provider):
            assert [endpoint.port for endpoint in replica.endpoints] == ["http"]
            assert replica.endpoints[0].number > 0
            assert replica.started_at is not None and replica.started_at.tzinfo is not None

    def test_scaling_down_removes_the_highest_index(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(), 3)
        before = {replica.name: replica.id for replica in self.live(provider)}
        self.scale(provider, self.make_release(), 1)
        kept = self.sets(provider)[1].replicas
        assert [replica.index for replica in kept] == [0]
        assert kept[0].id == before[kept[0].name]

    def test_scaling_to_zero_removes_the_set(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(), 1)
        self.scale(provider, self.make_release(), 0)
        assert self.sets(provider) == {}

    def test_twice_is_once(self, provider: Provider) -> None:
        release = self.make_release()
        self.scale(provider, release, 2)
        before = [replica.id for replica in self.live(provider)]
        assert self.scale(provider, release, 2).effects == 0
        assert [replica.id for replica in self.live(provider)] == before
        self.scale(provider, release, 0)
        assert self.scale(provider, release, 0).effects == 0

    def test_a_dead_replica_is_seen_as_stopped(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(), 1)
        self.kill_replica(provider, self.live(provider)[0])
        wait_until(lambda: not self.live(provider), "the death to show")
        assert [item.phase for item in self.sets(provider)[1].replicas] == [ReplicaPhase.STOPPED]

    def test_a_dead_replica_is_replaced_in_its_index(self, provider: Provider) -> None:
        release = self.make_release()
        self.scale(provider, release, 3)
        before = self.live(provider)
        self.kill_replica(provider, before[1])
        wait_until(lambda: len(self.live(provider)) == 2, "the death to show")
        self.scale(provider, release, 3)
        after = self.live(provider)
        assert [replica.index for replica in after] == [0, 1, 2]
        assert after[1].id != before[1].id
        assert (after[0].id, after[2].id) == (before[0].id, before[2].id)

    def test_a_dead_replica_is_the_first_to_go_on_scale_down(self, provider: Provider) -> None:
        release = self.make_release()
        self.scale(provider, release, 2)
        self.kill_replica(provider, self.live(provider)[0])
        wait_until(lambda: len(self.live(provider)) == 1, "the death to show")
        self.scale(provider, release, 1)
        assert [replica.index for replica in self.sets(provider)[1].replicas] == [1]

    def test_two_releases_run_side_by_side(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(1), 1)
        self.scale(provider, self.make_release(2), 2)
        assert {number: len(item.live) for number, item in self.sets(provider).items()} == {
            1: 1,
            2: 2,
        }
        self.scale(provider, self.make_release(1), 0)
        assert list(self.sets(provider)) == [2]

    def test_replicas_named_in_retire_go_first(self, provider: Provider) -> None:
        release = self.make_release()
        self.scale(provider, release, 3)
        self.scale(provider, release, 2, retire=(self.replica(0),))
        assert [replica.index for replica in self.live(provider)] == [1, 2]

    def test_missing_replicas_take_the_lowest_free_index(self, provider: Provider) -> None:
        release = self.make_release()
        self.scale(provider, release, 2)
        self.scale(provider, release, 1, retire=(self.replica(0),))
        self.scale(provider, release, 3)
        assert [replica.index for replica in self.live(provider)] == [0, 1, 2]

    def test_a_new_provider_object_adopts_what_runs(self, provider: Provider, root: Path) -> None:
        release = self.make_release()
        self.scale(provider, release, 2)
        again = self.make_provider(self.plane, root)
        assert again.observe() == provider.observe()
        assert self.scale(again, release, 2).effects == 0
        again.close()

    def test_another_plane_sees_and_touches_nothing_of_ours(
        self, provider: Provider, root: Path
    ) -> None:
        self.scale(provider, self.make_release(), 1)
        stranger = self.make_provider(f"{self.plane}-other", root)
        assert stranger.observe().replica_sets == ()
        self.perform(stranger, RemoveInstance(WEB, self.alias, timedelta(0), is_volumes=True))
        stranger.close()
        assert len(self.live(provider)) == 1

    def test_observe_can_be_limited_to_instances(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(instance=WEB), 1)
        self.scale(provider, self.make_release(instance=DB), 1)
        seen = {item.instance for item in provider.observe().replica_sets}
        assert seen == {WEB, DB}
        only = {item.instance for item in provider.observe([DB]).replica_sets}
        assert only == {DB}

    def test_resources_change_in_place(self, provider: Provider) -> None:
        self.needs(provider, Capability.MEMORY_LIMIT)
        small, big = Resources(memory_bytes=128 << 20), Resources(memory_bytes=256 << 20)
        self.scale(provider, self.make_release(), 1, resources=small)
        before = self.live(provider)[0]
        assert before.resources == small
        action = UpdateResources(WEB, self.alias, big)
        assert self.perform(provider, action).effects > 0
        after = self.live(provider)[0]
        assert (after.id, after.resources) == (before.id, big)
        assert self.perform(provider, action).effects == 0

    def test_environment_reaches_the_replica_and_the_command(self, provider: Provider) -> None:
        self.needs(provider, Capability.LOGS, Capability.EXEC)
        command = ("python3", "-u", "-c", f"print('$(GREETING) $$(X)')\n{APP}")
        self.scale(provider, self.make_release(command=command, env={"GREETING": "salve"}), 1)
        name = self.live(provider)[0].name
        wait_until(lambda: len(self.log_text(provider, name)) >= 3, "the first lines")
        assert "salve $(X)" in self.log_text(provider, name)
        code, output = self.run(provider, name, "import os; print(os.environ['GREETING'])")
        assert (code, output.strip()) == (0, "salve")

    def test_files_reach_the_replica_with_their_mode(self, provider: Provider) -> None:
        self.needs(provider, Capability.FILES, Capability.EXEC)
        content = b"color: blue\n"
        mount = FileMount(self.path("conf/app.yaml"), blob_digest(content), 0o640)
        material = Material(files={mount.digest: content})
        self.scale(provider, self.make_release(files=(mount,)), 1, material)
        script = f"import os; p={mount.path!r}; print(open(p).read(), oct(os.stat(p).st_mode))"
        code, output = self.run(provider, self.live(provider)[0].name, script)
        assert code == 0 and "color: blue" in output and "640" in output

    def test_secrets_reach_the_replica_and_show_nowhere(
        self, provider: Provider, root: Path
    ) -> None:
        self.needs(provider, Capability.EXEC)
        env_key = ResourceKey(Kind.SECRET, "acme", "token")
        file_key = ResourceKey(Kind.SECRET, "acme", "cert")
        secrets = (
            SecretMount(file_key, SecretType.FILE, self.path("keys/cert"), "d1"),
            SecretMount(env_key, SecretType.ENV, "TOKEN", "d2"),
        )
        values = {env_key: SecretValue(b"s3cret-env"), file_key: SecretValue(b"s3cret-file")}
        release = self.make_release(secrets=secrets)
        self.scale(provider, release, 1, Material(secrets=values))
        script = f"import os; print(os.environ['TOKEN'][::-1], open({secrets[0].target!r}).read())"
        code, output = self.run(provider, self.live(provider)[0].name, script)
        assert code == 0 and "vne-terc3s" in output and "s3cret-file" in output
        seen = self.observable_text(provider, root)
        assert "s3cret-env" not in seen and "s3cret-file" not in seen

    def test_a_secret_without_its_value_is_an_error_and_starts_nothing(
        self, provider: Provider
    ) -> None:
        key = ResourceKey(Kind.SECRET, "acme", "token")
        release = self.make_release(secrets=(SecretMount(key, SecretType.ENV, "TOKEN", "d"),))
        outcome = self.attempt(provider, ScaleReplicaSet(WEB, self.alias, release, 1))
        assert outcome.error is not None and "token" in outcome.error.message
        assert self.live(provider) == ()

    def test_volumes_outlive_releases_and_instances_unless_asked(self, provider: Provider) -> None:
        self.needs(provider, Capability.VOLUMES, Capability.EXEC)
        volume = Volume("data", self.path("data"))
        file = f"{volume.path}/note"
        release = self.make_release(volumes=(volume,))
        self.scale(provider, release, 1)
        name = self.live(provider)[0].name
        assert self.run(provider, name, f"open({file!r}, 'w').write('kept')")[0] == 0
        self.perform(provider, RemoveInstance(WEB, self.alias, timedelta(seconds=5)))
        assert self.sets(provider) == {}
        self.scale(provider, release, 1)
        assert self.run(provider, name, f"print(open({file!r}).read())") == (0, "kept\n")
        self.perform(provider, RemoveInstance(WEB, self.alias, timedelta(0), is_volumes=True))
        self.scale(provider, release, 1)
        assert self.run(provider, name, f"import os; print(os.path.exists({file!r}))")[1] == (
            "False\n"
        )

    def test_removing_an_instance_leaves_the_others(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(instance=WEB), 1)
        self.scale(provider, self.make_release(instance=DB), 1)
        action = RemoveInstance(WEB, self.alias, timedelta(seconds=5))
        assert self.perform(provider, action).effects > 0
        assert {item.instance for item in provider.observe().replica_sets} == {DB}
        assert self.perform(provider, action).effects == 0

    def test_a_tenant_goes_only_when_its_instances_are_gone(self, provider: Provider) -> None:
        self.scale(provider, self.make_release(), 1)
        action = RemoveTenant(tenant_key("acme"), self.alias)
        outcome = self.attempt(provider, action)
        assert outcome.error is not None and "web" in outcome.error.message
        assert len(self.live(provider)) == 1
        self.perform(provider, RemoveInstance(WEB, self.alias, timedelta(0), is_volumes=True))
        self.perform(provider, action)
        assert self.perform(provider, action).effects == 0

    def test_what_is_kept_besides_replicas_goes_with_its_owner(self, provider: Provider) -> None:
        if not isinstance(provider, Keeping):
            pytest.skip("keeps nothing besides replicas")
        self.scale(provider, self.make_release(), 1)
        assert provider.find_leftovers() == (), "what has replicas is no leftover"
        self.scale(provider, self.make_release(), 0)
        owners = {item.owner for item in provider.find_leftovers()}
        assert owners <= {WEB, tenant_key("acme")}
        self.perform(provider, RemoveInstance(WEB, self.alias))
        assert WEB not in {item.owner for item in provider.find_leftovers()}
        self.perform(provider, RemoveTenant(tenant_key("acme"), self.alias))
        assert provider.find_leftovers() == ()

    def test_what_another_plane_keeps_is_no_leftover_of_ours(
        self, provider: Provider, root: Path
    ) -> None:
        if not isinstance(provider, Keeping):
            pytest.skip("keeps nothing besides replicas")
        other = self.make_provider(f"{self.plane}-other", root / "other")
        self.scale(other, self.make_release(), 1)
        self.scale(other, self.make_release(), 0)
        assert provider.find_leftovers() == ()
        self.clean(other)
        other.close()

    def test_a_provider_that_does_not_answer_is_a_gap(self, provider: Provider) -> None:
        block = self.break_provider(provider)
        if block is None:
            pytest.skip("an outage cannot be faked here")
        self.scale(provider, self.make_release(), 1)
        before = self.live(provider)
        with block:
            observed = provider.observe()
            assert [gap.provider for gap in observed.gaps] == [self.alias]
            action = ScaleReplicaSet(WEB, self.alias, self.make_release(), 2)
            outcome = self.attempt(provider, action)
            assert outcome.error is not None and outcome.error.is_retryable
            if Capability.USAGE in provider.capabilities and self.is_usage_asked:
                with pytest.raises(ProviderError):
                    provider.read_usage(before)
        assert provider.observe().gaps == ()

    def test_a_stop_lets_the_replica_finish(self, provider: Provider) -> None:
        self.needs(provider, Capability.VOLUMES, Capability.EXEC, Capability.LOGS)
        volume = Volume("data", self.path("data"))
        bye = f"{volume.path}/bye"
        release = self.make_release(volumes=(volume,), env={"BYE": bye})
        self.scale(provider, release, 1)
        name = self.live(provider)[0].name
        wait_until(lambda: "hello" in self.log_text(provider, name), "the start")
        self.scale(provider, release, 0, stop_timeout=timedelta(seconds=15))
        self.scale(provider, release, 1)
        assert self.run(provider, name, f"print(open({bye!r}).read())") == (0, "bye\n")

    def test_a_replica_deaf_to_the_stop_is_killed_after_its_grace(self, provider: Provider) -> None:
        release = self.make_release(command=("python3", "-u", "-c", STUBBORN))
        self.scale(provider, release, 1)
        self.scale(provider, release, 0, stop_timeout=timedelta(seconds=1))
        assert self.sets(provider) == {}

    def test_what_each_replica_uses_is_told_by_its_name(self, provider: Provider) -> None:
        self.needs(provider, Capability.USAGE)
        self.scale(provider, self.make_release(command=("python3", "-c", BUSY)), 2)
        replicas = self.live(provider)
        first = provider.read_usage(replicas)
        assert set(first) == {item.name for item in replicas}

        def have_all_worked() -> bool:
            for item in replicas:
                self.spend(provider, item)
            now = provider.read_usage(replicas)
            return all(
                (now[name].cpu_s or 0) > (then.cpu_s or 0)
                and (now[name].memory_bytes or 0) > 8 << 20
                for name, then in first.items()
            )

        wait_until(have_all_worked, "every replica to have used processor and memory")
        only = replicas[:1]
        assert set(provider.read_usage(only)) == {only[0].name}
        assert provider.read_usage(()) == {}

    def test_a_replica_that_is_gone_uses_nothing_and_hides_nobody(self, provider: Provider) -> None:
        self.needs(provider, Capability.USAGE)
        self.scale(provider, self.make_release(), 2)
        replicas = self.live(provider)
        self.scale(provider, self.make_release(), 1)
        assert set(provider.read_usage(replicas)) == {replicas[0].name}
        self.kill_replica(provider, replicas[0])
        wait_until(lambda: not self.live(provider), "the death to show")
        # The kernel takes a moment to be done with one that was killed.
        wait_until(lambda: provider.read_usage(replicas) == {}, "the end of what it used")

    def test_preparing_a_release_touches_no_replica(self, provider: Provider) -> None:
        release = self.make_release()
        self.perform(provider, PrepareRelease(WEB, self.alias, release))
        assert provider.observe().replica_sets == ()
