"""reconcile alone: one pass over a folder of specs, on a provider that lives in memory."""

import threading
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.plan.change import Policy
from ctrlplane_gitops.providers.base import ProviderSettings
from ctrlplane_gitops.providers.registry import build_provider
from ctrlplane_gitops.reconcile.follow import Follower
from ctrlplane_gitops.reconcile.run import PassParts, run_pass
from ctrlplane_gitops.source.directory import DirectorySource
from ctrlplane_gitops.store.registry import open_store

SPECS = """\
apiVersion: ctrlplane.dev/v1
kind: ControlPlane
metadata: {name: prod}
spec: {providers: {here: {type: memory}}, defaultProvider: here}
---
apiVersion: ctrlplane.dev/v1
kind: Tenant
metadata: {name: acme}
spec: {}
---
apiVersion: ctrlplane.dev/v1
kind: Instance
metadata: {tenant: acme, name: web}
spec: {replicas: 2}
---
apiVersion: ctrlplane.dev/v1
kind: Deployment
metadata: {tenant: acme, name: web}
spec: {instance: web, image: "shop:1", strategy: {type: rolling, minReady: 0s}}
"""

with TemporaryDirectory() as scratch:
    (Path(scratch) / "ctrlplane.yaml").write_text(SPECS)
    follower = Follower(DirectorySource(Path(scratch)), None, {})
    wanted = follower.follow()
    assert wanted.desired is not None
    settings = ProviderSettings("prod", wanted.desired.plane.providers["here"], scratch)
    pool = Pool(4, "work")
    parts = PassParts(
        store=open_store("memory:"),
        providers={"here": build_provider(settings)},
        clock=SystemClock(),
        actions=pool,
        looks=pool,
        probes=pool,
        cancel=threading.Event(),
        actor="user:you",
        on_event=lambda event: print(event.type, event.address, event.message),
        on_wait=lambda instance, text: None,
        timeout=timedelta(minutes=1),
    )
    specs = (wanted, wanted.desired)
    seen, result = run_pass(specs, lambda: specs, parts, Policy(), lambda seen: None)
    again, _ = run_pass(specs, lambda: specs, parts, Policy(), lambda seen: None)
    assert not seen.plan.is_empty and again.plan.is_empty
    pool.close()
