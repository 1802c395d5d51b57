"""``serve`` on processes: it converges, follows, repairs, and lets nothing vanish."""

from __future__ import annotations

import pytest

from tests.e2e import specs
from tests.e2e.plane import Plane, wait_until
from tests.e2e.serve_kit import RARELY, serving

WEB, OTHER = "instance/acme/web", "instance/globex/web"
FILE = "tenants/acme.yaml"
V2 = ('VERSION: "1"', 'VERSION: "2"')
WORKERS = {
    "cert-renewer", "garbage-collector", "health", "log", "notifier", "reconciler", "source",
    "status", "telemetry",
}  # fmt: skip
HELLO = "Hello from acme, version {}\n"


@pytest.fixture
def begun(local: Plane) -> Plane:
    """Two tenants, committed, nothing applied."""
    local.begin("acme", "globex")
    return local


def started(plane: Plane, address: str, release: int) -> bool:
    """Whether a replica of the release has been started."""
    return any(
        item["address"] == address and item["message"].startswith(f"v{release} scaled to 1")
        for item in plane.events("replicas.scaled")
    )


def test_the_first_pass_converges_and_the_answers_say_so(begun: Plane) -> None:
    with serving(begun, *RARELY) as serve:
        assert serve.get("/healthz") == (200, {"status": "ok"})
        serve.wait_for("pass applied", "everything")
        serve.wait_ready()
        assert serve.get("/api/v1/status")[1] == begun.ok("status", "--json").json
        assert begun.answers(WEB) == [HELLO.format(1)]

        workers = {item["name"]: item for item in serve.get("/api/v1/workers")[1]["items"]}
        assert workers.keys() == WORKERS
        assert workers["reconciler"]["runs"] >= 1 and workers["reconciler"]["errors"] == 0

        wait_until(lambda: serve.figures().get('ctrlplane_instances{phase="running"}') == 2)
        figures = serve.figures()
        assert figures['ctrlplane_passes_total{outcome="applied"}'] == 1
        assert figures['ctrlplane_pass_duration_seconds_count{scope="whole"}'] == 1
        assert figures["ctrlplane_files_parsed_total"] == 3
        assert figures['ctrlplane_provider_calls_total{call="perform",provider="here"}'] == 2
        head = begun.git("rev-parse", "HEAD")
        assert figures[f'ctrlplane_commit_info{{commit="{head}",ref=""}}'] == 1

        status, problem = serve.get("/api/v1/nothing")
        assert status == 404
        assert problem.keys() == {"type", "title", "status", "detail", "code"}
    begun.assert_settled()


def test_a_commit_is_applied_by_a_poll_and_a_poll_of_the_same_does_nothing(
    begun: Plane,
) -> None:
    with serving(begun, "--ref", "main", "--poll", "1s", "--interval", "1h") as serve:
        serve.wait_for("pass applied", "everything")
        looks = 'ctrlplane_source_looks_total{result="ok"}'
        calls = 'ctrlplane_provider_calls_total{call="observe",provider="here"}'
        before = serve.figures()
        wait_until(lambda: serve.figures()[looks] >= before[looks] + 2)
        after = serve.figures()
        assert after[calls] == before[calls]

        begun.edit(FILE, *V2)
        wait_until(lambda: started(begun, WEB, 2))
        serve.wait_for("pass applied", "what changed")
        assert begun.answers(WEB) == [HELLO.format(2)]
        passes = 'ctrlplane_pass_duration_seconds_count{scope="whole"}'
        assert serve.figures()[passes] == before[passes]
    begun.assert_settled()


def test_a_saved_file_is_applied_without_a_poll(begun: Plane) -> None:
    with serving(begun, *RARELY) as serve:
        serve.wait_for("pass applied")
        begun.write(FILE, (begun.repo / FILE).read_text().replace(*V2))
        wait_until(lambda: started(begun, WEB, 2))
        serve.wait_for("pass applied", "what changed")
        assert begun.answers(WEB) == [HELLO.format(2)]


def test_a_killed_replica_is_back_with_the_next_pass_over_everything(begun: Plane) -> None:
    with serving(begun, "--poll", "1h", "--interval", "2s") as serve:
        serve.wait_for("pass applied")
        [name] = begun.replicas(WEB)
        before = begun.identities()
        begun.kill(name)
        wait_until(lambda: bool(begun.events("instance.repaired")))
        assert begun.answers(WEB) == [HELLO.format(1)]
        other = {name: item for name, item in before.items() if "globex" in name}
        assert other.items() <= begun.identities().items()


def test_a_broken_file_freezes_its_tenant_and_the_others_converge(begun: Plane) -> None:
    with serving(begun, *RARELY) as serve:
        serve.wait_for("pass applied")
        broken = (begun.repo / FILE).read_text().replace("replicas: 1", "replicas: many")
        begun.write(FILE, broken.replace(*V2))
        serve.wait_for("pass partial")
        serve.wait_for("note", f"{FILE}:")
        other = "tenants/globex.yaml"
        begun.write(other, (begun.repo / other).read_text().replace(*V2))
        serve.wait_for("replicas.scaled", OTHER, "v2")
        serve.wait_for("rollout.completed", OTHER)
        assert begun.answers(WEB) == [HELLO.format(1)]
        # It is about a tenant, not about us.
        assert serve.get("/readyz")[0] == 200
        begun.write(FILE, specs.tenant("acme").replace(*V2))
        serve.wait_for("rollout.completed", WEB, "v2")
    assert begun.answers(WEB) == [HELLO.format(2)]


def test_an_emptied_repo_deletes_nothing_and_the_loop_goes_on(begun: Plane) -> None:
    with serving(begun, "--ref", "main", "--poll", "1s", "--interval", "2s") as serve:
        serve.wait_for("pass applied")
        before = begun.identities()
        begun.git("rm", "-r", "--quiet", ".")
        begun.commit()
        serve.wait_for("pass refused")
        serve.wait_for("note", "there are no specs any more")
        wait_until(lambda: serve.figures()['ctrlplane_passes_total{outcome="refused"}'] >= 2)
        assert begun.identities() == before

        begun.git("revert", "--no-edit", "HEAD")
        begun.edit(FILE, *V2)
        serve.wait_for("rollout.completed", WEB, "v2")
    assert begun.answers(WEB) == [HELLO.format(2)]


def test_another_name_of_the_control_plane_is_refused(begun: Plane) -> None:
    with serving(begun, *RARELY) as serve:
        serve.wait_for("pass applied")
        begun.edit("ctrlplane.yaml", f"name: {begun.name}", "name: another")
        serve.wait_for("pass refused")
        serve.wait_for("note", "is called another now")
        assert not (begun.state / "another").exists()


def test_a_rollout_that_waits_for_promote_holds_up_nobody(begun: Plane) -> None:
    begun.edit(
        FILE,
        "{type: rolling, minReady: 200ms,",
        "{type: canary, canary: {steps: [{weight: 50, pause: manual}]}, minReady: 200ms,",
    )
    with serving(begun, *RARELY) as serve:
        serve.wait_for("pass applied")
        begun.edit(FILE, *V2)
        serve.wait_for("pass waiting")
        other = "tenants/globex.yaml"
        begun.edit(other, *V2)
        serve.wait_for("rollout.completed", OTHER, "v2")
        assert begun.status()[WEB]["phase"] == "progressing"
        # The lease is free between passes: whoever steers is not locked out.
        assert begun.run("promote", WEB, "--lock-timeout", "5s").code == 0
        assert set(begun.answers(WEB)) == {HELLO.format(2)}
