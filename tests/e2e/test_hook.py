"""``git push`` to a bare repository whose post-receive hook tells ``serve``."""

from __future__ import annotations

import pytest

from tests.e2e.hook_kit import MAIN, SECRET, Origin, ledger, post, push_body, wait_ended
from tests.e2e.plane import Plane, wait_until
from tests.e2e.serve_kit import RARELY, ends, serving

WEB = "instance/acme/web"
FILE = "tenants/acme.yaml"
HELLO = "Hello from acme, version {}\n"


@pytest.fixture
def origin(local: Plane) -> Origin:
    local.begin("acme", "globex")
    return Origin(local)


def version(plane: Plane, number: int) -> None:
    plane.edit(FILE, f'VERSION: "{number - 1}"', f'VERSION: "{number}"')


def performs(figures: dict[str, float]) -> float:
    return figures['ctrlplane_provider_calls_total{call="perform",provider="here"}']


def test_a_push_is_applied_without_a_poll(origin: Origin) -> None:
    plane = origin.plane
    with serving(plane, *origin.arguments, *RARELY) as serve:
        origin.tell(serve.url)
        serve.wait_for("pass applied", "everything")
        before = performs(serve.figures())
        version(plane, 2)
        commit = origin.push()
        wait_until(lambda: performs(serve.figures()) > before)
        [row] = wait_ended(plane, 1)
        assert (row["outcome"], row["announced"], row["commit_id"]) == ("applied", commit, commit)
        assert plane.answers(WEB) == [HELLO.format(2)]
        assert serve.figures()['ctrlplane_deliveries_total{outcome="applied",sender="github"}'] == 1
    plane.assert_settled()


def test_a_push_is_applied_once_with_polling_on_as_well(origin: Origin) -> None:
    plane = origin.plane
    with serving(plane, *origin.arguments, "--poll", "1s", "--interval", "1h") as serve:
        origin.tell(serve.url)
        serve.wait_for("pass applied", "everything")
        before = performs(serve.figures())
        version(plane, 2)
        commit = origin.push()
        wait_ended(plane, 1)
        looks = 'ctrlplane_source_looks_total{result="ok"}'
        seen = serve.figures()[looks]
        wait_until(lambda: serve.figures()[looks] >= seen + 2)
        started = [item for item in plane.events("rollout.started") if "v2" in item["message"]]
        assert len(started) == 1
        # A rollout of one replica: the new one is started, the old one stopped.
        assert performs(serve.figures()) == before + 2
        about = [row for row in ledger(plane) if row["announced"] == commit]
        # Where a poll saw it before the pass began, that one was for both.
        assert {row["outcome"] for row in about} <= {"applied", "unchanged"}, about
        assert "applied" in [row["outcome"] for row in about], about
    quiet = [row for row in ledger(plane) if row["outcome"] == "unchanged" and row["count"] > 1]
    assert len(quiet) == 1, "looks that found nothing are one row"


def test_without_a_webhook_a_push_is_applied_within_one_poll(origin: Origin) -> None:
    plane = origin.plane
    with serving(plane, *origin.arguments, "--poll", "1s", "--interval", "1h") as serve:
        serve.wait_for("pass applied", "everything")
        version(plane, 2)
        commit = origin.push()
        serve.wait_for("rollout.completed", WEB, "v2")
        rows = wait_ended(plane, 2, sender="poll")
        found = [row for row in rows if row["announced"] == commit]
        assert [row["outcome"] for row in found] == ["applied"]


def test_what_concerns_nobody_and_what_is_not_ours_ends_too(origin: Origin) -> None:
    plane = origin.plane
    with serving(plane, *origin.arguments, *RARELY) as serve:
        origin.tell(serve.url)
        serve.wait_for("pass applied", "everything")
        plane.commit()
        origin.push()
        wait_ended(plane, 1)
        plane.write("notes.txt", "nothing")
        plane.commit()
        origin.push()
        plane.git("checkout", "-q", "-b", "other")
        plane.commit()
        origin.push(ref="other")
        plane.git("tag", "main", "other")
        origin.push(ref="refs/tags/main")
        rows = wait_ended(plane, 4)
        assert [row["outcome"] for row in rows] == ["unchanged"] * 2 + ["ignored"] * 2
        assert "refs/tags/main" in rows[3]["message"]
        assert len(plane.events("apply.started")) == 1


def test_a_commit_that_is_overtaken_is_superseded_and_one_that_fails_says_why(
    origin: Origin,
) -> None:
    plane = origin.plane
    with serving(plane, *origin.arguments, *RARELY) as serve:
        origin.tell(serve.url)
        serve.wait_for("pass applied", "everything")
        version(plane, 2)
        first = plane.git("rev-parse", "HEAD")
        plane.edit(FILE, "replicas: 1", "replicas: many")
        last = origin.push()
        # It was pushed before, and its delivery comes late.
        assert post(serve.url, push_body(first), "late")[0] == 202
        broken, late = wait_ended(plane, 2)
        assert (broken["outcome"], broken["announced"]) == ("failed", last)
        assert FILE in broken["message"]
        assert (late["outcome"], late["commit_id"]) == ("superseded", last)


def test_a_commit_that_is_not_to_be_seen_yet_is_looked_for(origin: Origin) -> None:
    """As with a mirror that lags behind the forge that tells."""
    plane = origin.plane
    with serving(plane, *origin.arguments, *RARELY) as serve:
        serve.wait_for("pass applied", "everything")
        version(plane, 2)
        commit = plane.git("rev-parse", "HEAD")
        assert post(serve.url, push_body(commit), "early")[0] == 202
        looks = 'ctrlplane_source_looks_total{result="ok"}'
        wait_until(lambda: serve.figures()[looks] >= 3)
        assert [row["outcome"] for row in ledger(plane) if row["sender"] == "github"] == [
            "accepted"
        ]
        origin.push()
        [row] = wait_ended(plane, 1)
        assert (row["outcome"], row["commit_id"]) == ("applied", commit)


def test_what_was_accepted_before_a_kill_gets_its_outcome_from_the_next_serve(
    origin: Origin,
) -> None:
    plane = origin.plane
    with serving(plane, *origin.arguments, *RARELY) as serve:
        serve.wait_for("pass applied", "everything")
        version(plane, 2)
        commit = plane.git("rev-parse", "HEAD")
        # Not to be seen yet, so it is without an outcome when the kill comes.
        assert post(serve.url, push_body(commit), "before")[0] == 202
        serve.kill()
    origin.push()
    with serving(plane, *origin.arguments, *RARELY) as serve:
        [row] = wait_ended(plane, 1)
        assert (row["outcome"], row["commit_id"]) == ("applied", commit)
        assert post(serve.url, push_body(commit), "before")[1]["outcome"] == "duplicate"
    plane.assert_settled()


@pytest.mark.parametrize("name", ["CTRLPLANE_WEBHOOK_SECRET", "CTRLPLANE_WEBHOOK_SECRET_GITEA"])
def test_a_short_secret_is_wrong_usage(local: Plane, name: str) -> None:
    local.begin("acme")
    local.environ[name] = SECRET[:15]
    code, said = ends(local.start("serve", "--listen", "127.0.0.1:0"))
    assert code == 64
    assert f"{name}: the webhook secret of" in said and SECRET[:15] not in said


def test_without_a_secret_there_is_no_webhook(origin: Origin) -> None:
    del origin.plane.environ["CTRLPLANE_WEBHOOK_SECRET"]
    with serving(origin.plane, *origin.arguments, *RARELY) as serve:
        serve.wait_for("pass applied")
        status, problem = post(serve.url, push_body("a" * 40, MAIN), "1")
        assert (status, problem["code"]) == (404, "not-found")
        serve.wait_for("webhook github: no secret is set", "CTRLPLANE_WEBHOOK_SECRET_GITHUB")
