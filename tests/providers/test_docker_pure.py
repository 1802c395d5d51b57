"""The Docker provider's parts that need no engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("docker")

from ctrlplane_gitops.errors import CapabilityError, ProviderError, UsageError
from ctrlplane_gitops.providers.docker.config import parse_config
from ctrlplane_gitops.providers.docker.image import parse_reference
from ctrlplane_gitops.providers.docker.limits import limit_reader
from ctrlplane_gitops.providers.docker.translate import Listing, check_template, parse_container
from ctrlplane_gitops.state.desired import ProviderConfig, Resources
from ctrlplane_gitops.state.key import Kind, ResourceKey, instance_key
from ctrlplane_gitops.state.observed import (
    Endpoint,
    ObservedReplica,
    ObservedReplicaSet,
    ReplicaPhase,
)
from ctrlplane_gitops.state.template import (
    FileMount,
    ReleaseTemplate,
    SecretMount,
    SecretType,
    Volume,
)

WEB = instance_key("acme", "web")
REPLICA_2 = "conf.acme.web.v3.2"
TOKEN = ResourceKey(Kind.SECRET, "acme", "token")


def parse(**options: object):
    return parse_config(ProviderConfig("d", "docker", options), {})


def row(**changes: object) -> dict[str, object]:
    labels = {
        "ctrlplane.dev/plane": "conf",
        "ctrlplane.dev/tenant": "acme",
        "ctrlplane.dev/instance": "web",
        "ctrlplane.dev/release": "3",
        "ctrlplane.dev/revision": "abc",
        "ctrlplane.dev/replica": "conf.acme.web.v3.1",
        "ctrlplane.dev/ports": "http=8080,admin=9000",
    }
    ports = [{"IP": "127.0.0.1", "PrivatePort": 8080, "PublicPort": 32768, "Type": "tcp"}]
    found = {"Id": "f00", "Names": ["/x"], "Created": 1_800_000_000, "State": "running"}
    return found | {"Status": "Up 2 seconds", "Labels": labels, "Ports": ports} | changes


def test_an_unknown_option_is_refused_with_a_guess() -> None:
    with pytest.raises(UsageError, match="'hots'") as caught:
        parse(hots="unix:///x")
    assert "did you mean 'host'" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "options",
    [
        {"host": "/var/run/docker.sock"},
        {"timeout": "0s"},
        {"timeout": "soon"},
        {"restart": "always"},
        {"publishAddress": "localhost"},
    ],
    ids=str,
)
def test_a_bad_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        parse(**options)


def test_the_host_comes_from_the_options_then_from_the_environment() -> None:
    environ = {"DOCKER_HOST": "unix:///env.sock"}
    given = ProviderConfig("d", "docker", {"host": "unix:///given.sock"})
    assert parse_config(given, environ).host == "unix:///given.sock"
    assert parse_config(ProviderConfig("d", "docker"), environ).host == "unix:///env.sock"
    assert parse().host == "unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    ("state", "status", "phase", "exit_code"),
    [
        ("running", "Up 3 minutes", ReplicaPhase.RUNNING, None),
        ("restarting", "Restarting (3) 1 second ago", ReplicaPhase.CRASHING, 3),
        ("created", "Created", ReplicaPhase.STOPPED, None),
        ("exited", "Exited (137) 2 hours ago", ReplicaPhase.STOPPED, 137),
        ("paused", "Up 3 minutes (Paused)", ReplicaPhase.STOPPED, None),
        ("dead", "Dead", ReplicaPhase.STOPPED, None),
    ],
)
def test_states_become_phases(
    state: str, status: str, phase: ReplicaPhase, exit_code: int | None
) -> None:
    found = parse_container(row(State=state, Status=status))
    assert found is not None and (found.phase, found.exit_code) == (phase, exit_code)


def test_endpoints_carry_the_names_of_published_ports() -> None:
    found = parse_container(row())
    assert found is not None and found.endpoints == (Endpoint("http", "127.0.0.1", 32768),)


def test_labels_that_contradict_each_other_are_not_ours() -> None:
    labels = dict(row()["Labels"])  # type: ignore[call-overload]
    assert parse_container(row(Labels=labels | {"ctrlplane.dev/release": "4"})) is None
    assert parse_container(row(Labels={"ctrlplane.dev/plane": "conf"})) is None


def test_references_name_the_same_repository_in_short_and_long_form() -> None:
    paths = {parse_reference(text).path for text in ("nginx", "docker.io/library/nginx:1")}
    assert paths == {"docker.io/library/nginx"}
    assert parse_reference("r.example:5000/a/b@sha256:00").registry == "r.example:5000"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize("place", ["docker/f00", "system.slice/docker-f00.scope"])
def test_limits_are_read_from_either_version_of_cgroups(tmp_path: Path, place: str) -> None:
    one, two, none = tmp_path / "v1", tmp_path / "v2", tmp_path / "none"
    write(
        one,
        {
            f"memory/{place}/memory.limit_in_bytes": "9223372036854771712\n",
            f"cpu/{place}/cpu.cfs_quota_us": "25000\n",
            f"cpu/{place}/cpu.cfs_period_us": "50000\n",
        },
    )
    write(two, {f"{place}/memory.max": "4096\n", f"{place}/cpu.max": "max 100000\n"})
    assert limit_reader(one)("f00") == Resources(cpu_millicores=500)
    assert limit_reader(two)("f00") == Resources(memory_bytes=4096)
    assert limit_reader(none)("f00") is None


def test_secret_files_need_an_engine_on_this_machine() -> None:
    secret = SecretMount(TOKEN, SecretType.FILE, "/run/token", "d")
    template = ReleaseTemplate("d", image="shop:1", secrets=(secret,))
    check_template(template, WEB, is_local=True)
    with pytest.raises(CapabilityError, match="secret files"):
        check_template(template, WEB, is_local=False)


@pytest.mark.parametrize(
    "template",
    [
        ReleaseTemplate("d", command=("true",)),
        ReleaseTemplate("d", image="a", files=(FileMount("../app", "0"),)),
        ReleaseTemplate(
            "d", image="a", volumes=(Volume("v", "/app"),), files=(FileMount("a", "0"),)
        ),
        ReleaseTemplate("d", image="a", files=(FileMount("/etc/../app", "0"),)),
        ReleaseTemplate("d", image="a", volumes=(Volume("data", "/"),)),
        ReleaseTemplate(
            "d", image="a", volumes=(Volume("v", "/srv"),), files=(FileMount("/srv/a", "0"),)
        ),
        ReleaseTemplate(
            "d",
            image="a",
            command=("login", "$(TOKEN)"),
            secrets=(SecretMount(TOKEN, SecretType.ENV, "TOKEN", "d"),),
        ),
    ],
    ids=[
        "no image",
        "outside",
        "relative inside a volume",
        "dots",
        "root",
        "inside a volume",
        "secret argument",
    ],
)
def test_what_can_never_run_is_refused(template: ReleaseTemplate) -> None:
    with pytest.raises(ProviderError):
        check_template(template, WEB, is_local=True)


def test_what_says_the_same_in_the_next_list_is_the_same() -> None:
    listing = Listing()
    rows = [
        row(),
        row(Id="f01", Labels={**dict(row()["Labels"]), "ctrlplane.dev/replica": REPLICA_2}),
    ]
    first, strangers = listing.renew(lambda: json.loads(json.dumps(rows)))
    assert len(first) == 2 and strangers == 0
    later = [rows[0] | {"Status": "Up 9 minutes"}, rows[1] | {"State": "exited"}, {"Id": "f02"}]
    second, strangers = listing.renew(lambda: json.loads(json.dumps(later)))
    assert second[0] is first[0] and strangers == 1
    assert second[1].id == first[1].id and not second[1].is_live
    assert listing.renew(lambda: iter(later))[0][1] is second[1]


def test_a_list_that_breaks_off_leaves_what_was_known() -> None:
    listing = Listing()
    [first], _ = listing.renew(lambda: [row()])

    def break_off() -> Iterator[dict[str, object]]:
        yield row()
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        listing.renew(break_off)
    assert listing.renew(lambda: [json.loads(json.dumps(row()))])[0][0] is first


def test_what_was_seen_before_is_kept_where_it_is_equal() -> None:
    def see(*releases: int, phase: ReplicaPhase = ReplicaPhase.RUNNING) -> list[ObservedReplicaSet]:
        return [
            ObservedReplicaSet(
                WEB, "d", number, "abc", (ObservedReplica(f"r{number}", "f00", 1, phase),)
            )
            for number in releases
        ]

    listing = Listing()
    first = listing.keep(see(1, 2, 4))
    second = listing.keep(see(2, 3, 4))
    assert [item.release for item in second] == [2, 3, 4]
    assert second[0] is first[1] and second[2] is first[2]
    third = listing.keep(see(3, 4, phase=ReplicaPhase.STOPPED))
    assert third == tuple(see(3, 4, phase=ReplicaPhase.STOPPED))
    assert listing.keep(see()) == ()
