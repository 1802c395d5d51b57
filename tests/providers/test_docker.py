"""The Docker provider against a real engine, beyond the shipped suite."""

from __future__ import annotations

import urllib.request
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("docker")

from docker.errors import NotFound

from ctrlplane_gitops.errors import ImageError, ProviderError, UnreachableError
from ctrlplane_gitops.plan.fields import diff_limits
from ctrlplane_gitops.providers.base import LABEL_PLANE, LABEL_TENANT, ProviderSettings
from ctrlplane_gitops.providers.conformance import ProviderConformance
from ctrlplane_gitops.providers.conformance_kit import DB, WEB, wait_until
from ctrlplane_gitops.providers.docker.provider import DockerProvider
from ctrlplane_gitops.redact import SecretValue
from ctrlplane_gitops.state.action import (
    Material,
    Outcome,
    PrepareRelease,
    RemoveInstance,
    RemoveTenant,
    ScaleReplicaSet,
    UpdateResources,
)
from ctrlplane_gitops.state.desired import ProviderConfig, Resources
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key, tenant_key
from ctrlplane_gitops.state.observed import ReplicaPhase
from ctrlplane_gitops.state.template import Release, ReleaseTemplate, SecretMount, SecretType
from tests.engines.registry import Registry
from tests.providers.docker_kit import DockerHooks, run_beside

pytestmark = pytest.mark.docker
NAME = f"{DockerHooks.plane}.acme.web.v1.0"
NETWORK = f"{DockerHooks.plane}.acme"


class TestDockerConformance(DockerHooks, ProviderConformance):
    """The shipped suite."""


class Killed(BaseException):
    """The end of the process, as far as the provider can tell."""


class TestContainers(DockerHooks):
    def serve(self, number: int = 1, image: str = "ctrlplane-test-app:1") -> Release:
        """A release of the image's own application."""
        release = self.make_release(number, command=())
        return replace(release, template=replace(release.template, image=image))

    def test_observe_is_one_call(self, provider: DockerProvider) -> None:
        self.scale(provider, self.make_release(), 3)
        self.relay.requests.clear()
        provider.observe()
        assert [item.partition("?")[0] for item in self.relay.requests] == ["GET /containers/json"]

    def test_a_published_port_reaches_the_application(self, provider: DockerProvider) -> None:
        self.scale(provider, self.serve(image="ctrlplane-test-app:2"), 1)
        endpoint = self.live(provider)[0].endpoints[0]
        assert (endpoint.port, endpoint.host) == ("http", "127.0.0.1")
        wait_until(lambda: fetch(endpoint.number, "/healthz") == "ok", "the application")
        assert fetch(endpoint.number, "/") == "2"

    def test_instances_of_a_tenant_find_each_other_by_name(self, provider: DockerProvider) -> None:
        self.scale(provider, self.serve(), 1)
        self.scale(provider, self.make_release(instance=DB), 1)
        client = self.live(provider, instance=DB)[0].name
        ask = "import urllib.request as u; print(u.urlopen('http://web:8080/').read().decode())"
        wait_until(lambda: self.run(provider, client, ask)[0] == 0, "an answer from web")
        assert self.run(provider, client, ask) == (0, "1\n")

    def test_a_limit_changed_behind_our_back_is_observed(self, provider: DockerProvider) -> None:
        limits = Resources(cpu_millicores=500, memory_bytes=128 << 20)
        self.scale(provider, self.make_release(), 1, resources=limits)
        assert self.live(provider)[0].resources == limits
        size = 64 << 20
        self.client.update_container(NAME, mem_limit=size, memswap_limit=size)
        assert self.live(provider)[0].resources == Resources(500, size)
        self.perform(provider, UpdateResources(WEB, self.alias, limits))
        assert self.live(provider)[0].resources == limits

    def test_a_limit_that_is_no_whole_page_is_no_drift(self, provider: DockerProvider) -> None:
        """100M is held as 99,999,744 bytes by the kernel."""
        wanted = Resources(memory_bytes=100_000_000)
        self.scale(provider, self.make_release(), 1, resources=wanted)
        held = self.live(provider)[0].resources
        assert held is not None and diff_limits(wanted, held) == ()
        assert self.perform(provider, UpdateResources(WEB, self.alias, wanted)).effects == 0

    def test_limits_can_be_lifted_and_set_again(self, provider: DockerProvider) -> None:
        limits = Resources(cpu_millicores=500, memory_bytes=128 << 20)
        self.scale(provider, self.make_release(), 1, resources=limits)
        for wanted in (Resources(), limits, Resources(cpu_millicores=250)):
            self.perform(provider, UpdateResources(WEB, self.alias, wanted))
            assert self.live(provider)[0].resources == wanted
            again = self.perform(provider, UpdateResources(WEB, self.alias, wanted))
            assert again.effects == 0

    def test_a_stranger_with_our_name_is_left_alone(self, provider: DockerProvider) -> None:
        stranger = self.client.create_container(self.image, name=NAME)["Id"]
        try:
            outcome = self.attempt(
                provider, ScaleReplicaSet(WEB, self.alias, self.make_release(), 1)
            )
            assert outcome.error is not None and not outcome.error.is_retryable
            assert "not ours" in outcome.error.message
            self.perform(provider, RemoveInstance(WEB, self.alias, timedelta(0), is_volumes=True))
            assert self.client.inspect_container(NAME)["Id"] == stranger
        finally:
            self.client.remove_container(stranger, force=True)

    def test_a_strangers_network_is_left_alone(self, provider: DockerProvider) -> None:
        stranger = self.client.create_network(NETWORK)["Id"]
        try:
            action = ScaleReplicaSet(WEB, self.alias, self.make_release(), 1)
            outcome = self.attempt(provider, action)
            assert outcome.error is not None and "not ours" in outcome.error.message
            self.perform(provider, RemoveTenant(tenant_key("acme"), self.alias))
            assert self.client.inspect_network(stranger)["Name"] == NETWORK
        finally:
            self.client.remove_network(stranger)

    def test_instances_that_start_at_once_share_one_network(self, provider: DockerProvider) -> None:
        keys = [instance_key("acme", f"web{number}") for number in range(8)]
        releases = [self.make_release(instance=key) for key in keys]
        run_beside([partial(self.scale, provider, release, 1) for release in releases])
        assert len(self.client.networks(names=[NETWORK])) == 1

    def add_network(self) -> None:
        """Another network of the tenant's name: the engine forbids none that is asked for late."""
        labels = {LABEL_PLANE: self.plane, LABEL_TENANT: "acme"}
        self.client.create_network(NETWORK, labels=labels, check_duplicate=False)

    def test_of_two_networks_of_the_tenant_the_one_in_use_stays(
        self, provider: DockerProvider
    ) -> None:
        """A call whose caller was killed may still be carried out after the next one has looked."""
        self.scale(provider, self.make_release(), 1)
        [used] = self.client.networks(names=[NETWORK])
        self.add_network()
        self.scale(provider, self.make_release(), 2)
        [left] = self.client.networks(names=[NETWORK])
        assert left["Id"] == used["Id"]
        assert len(self.live(provider)) == 2

    def test_a_network_that_comes_late_is_a_failure_that_passes(
        self, root: Path, provider: DockerProvider
    ) -> None:
        def interfere(effect: str) -> None:
            if effect == f"create:{NAME}" and len(self.client.networks(names=[NETWORK])) == 1:
                self.add_network()

        late = self.build(self.plane, root, {}, on_effect=interfere)
        action = ScaleReplicaSet(WEB, self.alias, self.make_release(), 1)
        outcome = late.perform(action, Material())
        late.close()
        assert outcome.error is not None and outcome.error.is_retryable, outcome.error
        self.perform(provider, action)
        assert len(self.live(provider)) == 1
        assert len(self.client.networks(names=[NETWORK])) == 1

    def test_a_removed_tenant_leaves_nothing(self, provider: DockerProvider) -> None:
        self.scale(provider, self.make_release(), 1)
        self.perform(provider, RemoveInstance(WEB, self.alias, timedelta(0), is_volumes=True))
        self.perform(provider, RemoveTenant(tenant_key("acme"), self.alias))
        with pytest.raises(NotFound):
            self.client.inspect_network(NETWORK)

    def test_secret_files_leave_this_machine_with_their_release(
        self, provider: DockerProvider
    ) -> None:
        key = ResourceKey(Kind.SECRET, "acme", "cert")
        mount = SecretMount(key, SecretType.FILE, "/run/secrets/cert", "d")
        material = Material(secrets={key: SecretValue(b"s3cret-file")})
        release = self.make_release(secrets=(mount,))
        self.scale(provider, release, 1, material)
        source = Path(self.client.inspect_container(NAME)["Mounts"][0]["Source"])
        assert source.read_bytes() == b"s3cret-file"
        assert source.is_relative_to("/dev/shm") and source.parent.stat().st_mode & 0o77 == 0
        write = "open('/run/secrets/cert', 'w')"
        assert self.run(provider, NAME, write)[0] != 0
        self.scale(provider, release, 0, material)
        assert not source.parent.exists()

    def test_what_a_killed_apply_leaves_is_found_and_goes(self, provider: DockerProvider) -> None:
        """Containers were removed, and whoever did it died before the rest."""
        key = ResourceKey(Kind.SECRET, "acme", "cert")
        mount = SecretMount(key, SecretType.FILE, "/run/secrets/cert", "d")
        material = Material(secrets={key: SecretValue(b"s3cret-file")})
        release = self.make_release(secrets=(mount,))
        self.scale(provider, release, 1, material)
        source = Path(self.client.inspect_container(NAME)["Mounts"][0]["Source"])
        self.client.remove_container(NAME, force=True)
        found = [(item.owner, item.release) for item in provider.find_leftovers()]
        assert found == [(WEB, 1), (tenant_key("acme"), None)]
        self.scale(provider, replace(release, template=ReleaseTemplate(self.alias)), 0)
        assert not source.exists()
        self.perform(provider, RemoveInstance(WEB, self.alias))
        self.perform(provider, RemoveTenant(tenant_key("acme"), self.alias))
        assert provider.find_leftovers() == ()

    def test_a_network_that_only_looks_like_ours_is_no_leftover(
        self, provider: DockerProvider
    ) -> None:
        labels = {LABEL_PLANE: self.plane, LABEL_TENANT: "acme"}
        mine = self.client.create_network(f"somebody-s-own-{self.plane}", labels=labels)
        theirs = self.client.create_network(f"{self.plane}.globex")
        try:
            assert provider.find_leftovers() == ()
        finally:
            for network in (mine, theirs):
                self.client.remove_network(network["Id"])

    def test_a_paused_container_is_replaced(self, provider: DockerProvider) -> None:
        self.scale(provider, self.make_release(), 1)
        before = self.live(provider)[0].id
        self.client.pause(before)
        assert self.live(provider) == ()
        self.scale(provider, self.make_release(), 1)
        assert [item.id for item in self.live(provider)] != [before]

    def test_a_crash_loop_of_the_engines_own_restarts_is_seen(
        self, root: Path, provider: DockerProvider
    ) -> None:
        restarting = self.build(self.plane, root, {"restart": "unless-stopped"})
        release = self.make_release(command=("python3", "-c", "raise SystemExit(3)"))
        self.scale(restarting, release, 1)

        def is_crashing() -> bool:
            replicas = self.sets(restarting)[1].replicas
            return [item.phase for item in replicas] == [ReplicaPhase.CRASHING]

        wait_until(is_crashing, "the crash loop")
        restarting.close()

    def test_a_program_that_does_not_exist_is_stopped_with_127(
        self, provider: DockerProvider
    ) -> None:
        """The engine's init is what is started, so the start itself succeeds."""
        release = self.make_release(command=("no-such-program",))
        self.scale(provider, release, 1)
        wait_until(lambda: not self.live(provider), "its end")
        dead = self.sets(provider)[1].replicas[0]
        assert (dead.exit_code, dead.reason) == (127, "exited with 127")
        assert any("no-such-program" in text for text in self.log_text(provider, NAME))

    def test_a_followed_log_ends_with_its_container(self, provider: DockerProvider) -> None:
        script = "print('one', flush=True); import time; time.sleep(0.5); print('two')"
        self.scale(provider, self.make_release(command=("python3", "-c", script)), 1)
        lines = list(provider.read_logs(NAME, tail=None, is_follow=True))
        assert [line.text for line in lines] == ["one", "two"]
        assert all(line.at is not None for line in lines)

    def test_an_exec_that_takes_too_long_is_killed(self, provider: DockerProvider) -> None:
        self.scale(provider, self.make_release(), 1)
        with pytest.raises(ProviderError, match="did not end"):
            provider.execute(NAME, ("/bin/busybox", "sleep", "77"), timedelta(seconds=0.5))
        wait_until(lambda: "sleep 77" not in repr(self.client.top(NAME)), "the end of it")

    @pytest.mark.parametrize("moment", range(14))
    def test_death_between_two_effects_is_repaired_by_the_next_pass(
        self, root: Path, provider: DockerProvider, moment: int
    ) -> None:
        told: list[str] = []

        def die(effect: str) -> None:
            told.append(effect)
            if len(told) > moment:
                raise Killed(effect)

        dying = self.build(self.plane, root, {}, on_effect=die)
        action = ScaleReplicaSet(WEB, self.alias, self.make_release(), 2)
        with suppress(Killed):
            dying.perform(action, Material())
        dying.close()
        self.perform(provider, action)
        names = [item.name for item in self.sets(provider)[1].replicas]
        assert names == [NAME, self.replica(1)]
        assert self.perform(provider, action).effects == 0

    def test_an_engine_that_is_not_there_is_a_gap(self, tmp_path: Path) -> None:
        config = ProviderConfig("d", "docker", {"host": f"unix://{tmp_path}/none.sock"})
        provider = DockerProvider(ProviderSettings(self.plane, config, str(tmp_path), run_beside))
        assert "does not answer" in provider.observe().gaps[0].reason
        outcome = provider.perform(RemoveInstance(WEB, "d"), Material())
        assert isinstance(outcome.error, UnreachableError)


@pytest.mark.registry
class TestImages(DockerHooks):
    secret = ResourceKey(Kind.SECRET, "acme", "pull")

    def prepare(
        self, provider: DockerProvider, registry: Registry, tag: str, password: str = ""
    ) -> tuple[Release, Outcome, Material]:
        mount = SecretMount(self.secret, SecretType.REGISTRY, registry.address, "d")
        release = self.make_release(secrets=(mount,), command=())
        template = replace(release.template, image=f"{registry.address}/shop{tag}")
        release = replace(release, template=template)
        value = f"{registry.user}:{password or registry.password}\n".encode()
        material = Material(secrets={self.secret: SecretValue(value)})
        outcome = self.attempt(provider, PrepareRelease(WEB, self.alias, release), material)
        return release, outcome, material

    def forget(self, image: str) -> None:
        self.client.remove_image(image, force=True)

    def test_a_tag_becomes_a_digest_and_the_replicas_run_that(
        self, provider: DockerProvider, registry: Registry
    ) -> None:
        digest = registry.push(self.client, "ctrlplane-test-app:1", "shop", "1")
        release, outcome, material = self.prepare(provider, registry, ":1")
        assert outcome.error is None, outcome.error
        pinned = f"{registry.address}/shop@{digest}"
        assert outcome.resolved == {"image": pinned}
        again = self.attempt(provider, PrepareRelease(WEB, self.alias, release), material)
        assert (again.effects, again.resolved) == (0, outcome.resolved)
        release = replace(release, resolved=outcome.resolved)
        self.scale(provider, release, 1, material)
        assert self.client.inspect_container(NAME)["Config"]["Image"] == pinned
        self.scale(provider, release, 0, material)
        self.forget(pinned)

    def test_a_moved_tag_is_asked_of_the_registry(
        self, provider: DockerProvider, registry: Registry
    ) -> None:
        first = registry.push(self.client, "ctrlplane-test-app:1", "shop", "moving")
        _, before, _ = self.prepare(provider, registry, ":moving")
        second = registry.push(self.client, "ctrlplane-test-app:2", "shop", "moving")
        _, after, _ = self.prepare(provider, registry, ":moving")
        assert before.resolved["image"].endswith(first)
        assert after.resolved["image"].endswith(second) and first != second
        for outcome in (before, after):
            self.forget(outcome.resolved["image"])

    def test_an_image_can_be_named_by_digest(
        self, provider: DockerProvider, registry: Registry
    ) -> None:
        digest = registry.push(self.client, "ctrlplane-test-app:2", "shop", "2")
        _, outcome, _ = self.prepare(provider, registry, f"@{digest}")
        assert outcome.resolved == {"image": f"{registry.address}/shop@{digest}"}
        self.forget(outcome.resolved["image"])

    @pytest.mark.parametrize("tag", [":1", "@sha256:" + "0" * 64])
    def test_wrong_credentials_are_a_terminal_image_error(
        self, provider: DockerProvider, registry: Registry, tag: str
    ) -> None:
        registry.push(self.client, "ctrlplane-test-app:1", "shop", "1")
        _, outcome, _ = self.prepare(provider, registry, tag, "wrong-password")
        assert isinstance(outcome.error, ImageError) and not outcome.error.is_retryable
        assert "wrong-password" not in outcome.error.message
        assert "unauthorized" in outcome.error.message or "auth" in outcome.error.message

    def test_an_unknown_tag_is_a_terminal_image_error(
        self, provider: DockerProvider, registry: Registry
    ) -> None:
        _, outcome, _ = self.prepare(provider, registry, ":never-pushed")
        assert isinstance(outcome.error, ImageError) and not outcome.error.is_retryable

    def test_an_image_no_registry_knows_is_run_by_its_id(self, provider: DockerProvider) -> None:
        release = self.make_release()
        outcome = self.perform(provider, PrepareRelease(WEB, self.alias, release))
        assert self.image is not None
        assert outcome.resolved == {"image": self.client.inspect_image(self.image)["Id"]}
        self.scale(provider, replace(release, resolved=outcome.resolved), 1)
        assert len(self.live(provider)) == 1

    def test_a_registry_that_is_away_is_retryable(self, provider: DockerProvider) -> None:
        release = self.make_release()
        template = replace(release.template, image="127.0.0.1:1/shop:1")
        action = PrepareRelease(WEB, self.alias, replace(release, template=template))
        outcome = self.attempt(provider, action)
        assert isinstance(outcome.error, ImageError) and outcome.error.is_retryable


def fetch(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""
