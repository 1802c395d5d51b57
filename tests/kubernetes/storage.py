"""Disks: a folder of this machine for each claim, as a provisioner of a cluster would make one."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.kubernetes.client import ApiError, Client, Object, Watch

CLASS = "standard"
_PROVISIONER = "rig.ctrlplane.dev/disk"
_ASKED = "volume.kubernetes.io/storage-provisioner"
_MADE = "pv.kubernetes.io/provisioned-by"


class Storage:
    """Claims of the default class are bound; what is released goes, with its files."""

    def __init__(self, client: Client, root: Path) -> None:
        self._client, self._root = client, root
        self._watches = [client.watch("PersistentVolumeClaim"), client.watch("PersistentVolume")]
        works = (self._see_claim, self._see_volume)
        self._threads = [
            threading.Thread(target=self._follow, args=pair)
            for pair in zip(self._watches, works, strict=True)
        ]

    def start(self) -> None:
        annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
        self._client.apply(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": CLASS, "annotations": annotations},
                "provisioner": _PROVISIONER,
                "reclaimPolicy": "Delete",
                "volumeBindingMode": "Immediate",
            }
        )
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for watch in self._watches:
            watch.close()
        for thread in self._threads:
            thread.join()

    def _follow(self, watch: Watch, see: Callable[[Object], None]) -> None:
        for verb, item in watch:
            if verb in ("ADDED", "MODIFIED"):
                # Seen again at its next change, or at the next list.
                with suppress(ApiError, *Client.BROKEN):
                    see(item)

    def _see_claim(self, claim: Object) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        is_ours = (metadata.get("annotations") or {}).get(_ASKED) == _PROVISIONER
        if not is_ours or claim["status"].get("phase") != "Pending" or spec.get("volumeName"):
            return
        name = f"disk-{metadata['uid']}"
        reference = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "uid": metadata["uid"]}
        reference |= {"name": metadata["name"], "namespace": metadata["namespace"]}
        volume = {
            "capacity": spec["resources"]["requests"],
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "claimRef": reference,
            "hostPath": {"path": str(self._root / name), "type": "DirectoryOrCreate"},
        }
        head = {"name": name, "annotations": {_MADE: _PROVISIONER}}
        item = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": head, "spec": volume}
        (self._root / name).mkdir(parents=True, exist_ok=True)
        self._client.apply(item)

    def _see_volume(self, volume: Object) -> None:
        annotations = volume["metadata"].get("annotations") or {}
        is_ours = annotations.get(_MADE) == _PROVISIONER
        if not is_ours or volume["status"].get("phase") != "Released":
            return
        if volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
            shutil.rmtree(volume["spec"]["hostPath"]["path"], ignore_errors=True)
            self._client.delete("PersistentVolume", volume["metadata"]["name"])
