"""A control plane of Kubernetes with nodes of ours: what most tests take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.engines.kubernetes import ControlPlane, find_assets
from tests.kubernetes.kubelet import Kubelet
from tests.kubernetes.storage import Storage


class Rig(ControlPlane):
    """``kubelet`` plays every node."""

    kubelet: Kubelet


@contextmanager
def rig(root: Path) -> Iterator[Rig]:
    """One of our own, from being ready to its end."""
    plane = Rig(root, find_assets())
    with ExitStack() as stack:
        stack.callback(plane.stop)
        plane.start()
        plane.kubelet = Kubelet(plane, root)
        stack.callback(plane.kubelet.close)
        plane.kubelet.start()
        storage = Storage(plane.client, root / "disks")
        stack.callback(storage.close)
        storage.start()
        yield plane
