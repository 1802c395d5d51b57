"""A storm of webhooks against a real ``serve``: nobody is answered with 5xx, and it is a few looks.

``python -m tests.bench --rows storm`` sends a thousand a second for ten seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.hook_client import HookClient, Order
from tests.e2e.hook_kit import Origin, ledger
from tests.e2e.plane import Plane, wait_until
from tests.e2e.serve_kit import RARELY, Serve, serving

WEB = "instance/acme/web"
FILE = "tenants/acme.yaml"


@contextmanager
def watching(serve: Serve) -> Iterator[list[tuple[bool, str | None]]]:
    """What the reconciler is at, asked for again and again: whether it runs, and when it is due."""
    seen: list[tuple[bool, str | None]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            row = serve.get("/api/v1/workers/reconciler")[1]
            seen.append((row["is_running"], row["next_at"]))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_a_storm_is_answered_and_is_a_few_looks_and_one_pass(local: Plane) -> None:
    local.begin("acme", "globex")
    origin = Origin(local)
    with serving(local, *origin.arguments, *RARELY) as serve:
        serve.wait_for("pass applied", "everything")
        local.edit(FILE, 'VERSION: "1"', 'VERSION: "2"')
        commit = origin.push()
        before = serve.figures()
        client = HookClient(serve.url)
        try:
            with watching(serve) as seen:
                told = client.send(Order(1500, 16, rate=500, commits=[commit]))
        finally:
            client.close()
        assert told.statuses == {"202": 1500}

        def is_over() -> bool:
            rows = [row for row in ledger(local) if row["sender"] == "github"]
            return len(rows) == 1500 and all(row["outcome"] != "accepted" for row in rows)

        wait_until(is_over, 30)
        after = serve.figures()
        looks = 'ctrlplane_source_looks_total{result="ok"}'
        # One a second, while it lasts and once after it.
        assert after[looks] - before[looks] <= told.took_s + 3
        passes = 'ctrlplane_passes_total{outcome="applied"}'
        assert after[passes] - before[passes] == 1
        # There is one worker that makes passes, and it does not overlap itself.
        assert seen and after['ctrlplane_worker_errors_total{worker="reconciler"}'] == 0
        rows = [row for row in ledger(local) if row["sender"] == "github"]
        assert {row["outcome"] for row in rows} <= {"applied", "unchanged"}
        assert sum(row["outcome"] == "applied" for row in rows) >= 1
        started = [item for item in local.events("rollout.started") if "v2" in item["message"]]
        assert len(started) == 1
    local.assert_settled()
