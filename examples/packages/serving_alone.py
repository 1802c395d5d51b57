"""serving alone: all of ``serve`` without a command line, a port or a signal, until it converged."""

import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

from ctrlplane_gitops.app import Where, open_app
from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.config import load_settings
from ctrlplane_gitops.serving.following import load_followed
from ctrlplane_gitops.serving.output import Output
from ctrlplane_gitops.serving.service import Intervals, Service

SPECS = """\
apiVersion: ctrlplane.dev/v1
kind: ControlPlane
metadata: {name: prod}
spec: {providers: {here: {type: memory, path: world.json}}, defaultProvider: here}
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

with tempfile.TemporaryDirectory() as scratch:
    (Path(scratch) / "ctrlplane.yaml").write_text(SPECS)
    environ = {"CTRLPLANE_STATE_DIR": scratch, "CTRLPLANE_CACHE_DIR": scratch}
    cancel, clock = threading.Event(), SystemClock()
    settings, where = load_settings(environ), Where(scratch)
    with open_app(settings, environ, clock, where, cancel, lambda effect: None) as app:
        followed = load_followed(environ, scratch)
        service = Service(app, cancel, Intervals(), Output(log=print), followed)
        service.scheduler.start()
        deadline = time.monotonic() + 30
        phase = ""
        while phase != "running" and time.monotonic() < deadline:
            time.sleep(0.05)
            if not service.views.find_unready():
                [web] = service.views.read_status().instances
                phase = web.phase.value
        print(web.key, phase, f"{web.ready}/{web.desired}")
        cancel.set()
        assert service.scheduler.stop(timedelta(seconds=5)) == ()
        service.close()
        assert phase == "running" and web.ready == 2
