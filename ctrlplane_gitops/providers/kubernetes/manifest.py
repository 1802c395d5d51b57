"""From a release to the objects that run it. Pure: no object holds a secret but the Secrets."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.container import (
    build_environment,
    check_arguments,
    check_paths,
    owner_labels,
    place_paths,
    working_dir_of,
)
from ctrlplane_gitops.providers.kubernetes.config import KubernetesConfig
from ctrlplane_gitops.providers.kubernetes.name import (
    ACCOUNT,
    APPLIED,
    AUTOSCALED,
    CONTAINER,
    LABEL_VOLUME,
    MANAGED_BY,
    PORTS,
    SHAPE,
    claim_name,
    pull_name,
    service_name,
    set_labels,
    set_name,
    set_selector,
    shorten,
)
from ctrlplane_gitops.providers.kubernetes.probe import build_probes, check_probes
from ctrlplane_gitops.providers.kubernetes.quantity import write_limits
from ctrlplane_gitops.providers.kubernetes.shape import write_shape
from ctrlplane_gitops.state.action import ScaleReplicaSet
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.template import Port, Release, ReleaseTemplate, SecretMount, SecretType

Object = dict[str, Any]
_MOST_OF_PORT_NAME = 15
# Traefik takes up what has changed every two seconds, unless it is told otherwise, and nobody we
# know of takes longer.
_PAUSE_S = 3
_SECRETS, _FILES = "ctrlplane-secrets", "ctrlplane-files"


def check_release(release: Release) -> None:
    """ProviderError for what can never run here."""
    template, instance = release.template, release.instance
    if not template.image:
        raise ProviderError(
            f"{instance}: a Kubernetes provider needs an image",
            hint="give the deployment an `image`",
        )
    check_paths(place_paths(template), instance, is_nesting_allowed=True)
    check_arguments(template, instance)


def build_deployment(plane: str, namespace: str, action: ScaleReplicaSet, replicas: int) -> Object:
    """The Deployment of a replica set. Its pods are the replicas; that it only ever scales is
    ours to see to, so how it would roll hardly matters."""
    release, instance = action.release, action.instance
    check_probes(action.health, instance)
    template = place_paths(release.template)
    labels = set_labels(plane, release)
    ports = ",".join(f"{port.name}={port.port}" for port in template.ports)
    pod = _pod_spec(action, template)
    annotations = {PORTS: ports, SHAPE: write_shape(pod)}
    if action.is_autoscaled:
        annotations[AUTOSCALED] = "true"
    return {
        "metadata": {
            "name": set_name(instance, release.number),
            "namespace": namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": set_selector(plane, instance, release.number)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": pod,
            },
        },
    }


def _pod_spec(action: ScaleReplicaSet, template: ReleaseTemplate) -> Object:
    name = set_name(action.instance, action.release.number)
    spec: Object = {
        "serviceAccountName": ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(action.stop_timeout.total_seconds()),
        "containers": [_container(action, template)],
        "volumes": [
            *(_claim_volume(action.instance, volume.name) for volume in template.volumes),
            *_content_volumes(name, template),
        ],
    }
    if any(item.type is SecretType.REGISTRY for item in template.secrets):
        spec["imagePullSecrets"] = [{"name": pull_name(name)}]
    return spec


def _container(action: ScaleReplicaSet, template: ReleaseTemplate) -> Object:
    name = set_name(action.instance, action.release.number)
    container: Object = {
        "name": CONTAINER,
        "image": action.release.resolved.get("image") or template.image,
        "env": [
            # Kubernetes replaces $(NAME) in values as well; ours are what they say.
            *(
                {"name": key, "value": value.replace("$", "$$")}
                for key, value in build_environment(template).items()
                if key not in secret_variables(template)
            ),
            *(
                {"name": item.target, "valueFrom": {"secretKeyRef": _key_of(name, item)}}
                for item in template.secrets
                if item.type is SecretType.ENV
            ),
        ],
        "ports": [
            {"name": _port_name(port), "containerPort": port.port, "protocol": "TCP"}
            for port in template.ports
        ],
        "volumeMounts": [
            *(
                {"name": _volume_name(volume.name), "mountPath": volume.path}
                for volume in template.volumes
            ),
            *(
                {"name": _FILES, "mountPath": file.path, "subPath": file_key(place)}
                for place, file in enumerate(template.files)
            ),
            *(
                {"name": _SECRETS, "mountPath": it.target, "subPath": it.secret.name}
                for it in template.secrets
                if it.type is SecretType.FILE
            ),
        ],
    }
    if template.command:
        # As `docker run IMAGE COMMAND`: the image's entrypoint stays.
        container["args"] = list(template.command)
    if limits := write_limits(action.resources):
        container["resources"] = limits
    if working_dir := working_dir_of(action.release.template):
        container["workingDir"] = working_dir
    if template.ports and (pause_s := _pause_s(action)):
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": pause_s}}}
    return container | build_probes(action.health, template)


def _pause_s(action: ScaleReplicaSet) -> int:
    """How long a pod that is told to go answers as before: until those who send it requests have
    seen that it goes. It is part of the time it has for its end."""
    return min(_PAUSE_S, math.ceil(action.stop_timeout.total_seconds()) // 2)


def secret_variables(template: ReleaseTemplate) -> frozenset[str]:
    return frozenset(it.target for it in template.secrets if it.type is SecretType.ENV)


def _key_of(name: str, mount: SecretMount) -> Object:
    return {"name": name, "key": mount.secret.name}


def file_key(place: int) -> str:
    return f"f{place}"


def _volume_name(volume: str) -> str:
    return shorten(f"v-{volume}", 63)


def _port_name(port: Port) -> str:
    return port.name if len(port.name) <= _MOST_OF_PORT_NAME else f"p{port.port}"


def _claim_volume(instance: ResourceKey, volume: str) -> Object:
    claim = {"claimName": claim_name(instance, volume)}
    return {"name": _volume_name(volume), "persistentVolumeClaim": claim}


def _content_volumes(name: str, template: ReleaseTemplate) -> list[Object]:
    found: list[Object] = []
    if template.files:
        items = [
            {"key": file_key(place), "path": file_key(place), "mode": file.mode}
            for place, file in enumerate(template.files)
        ]
        found.append({"name": _FILES, "configMap": {"name": name, "items": items}})
    if any(item.type is SecretType.FILE for item in template.secrets):
        # Readable for whoever the image's user is.
        found.append({"name": _SECRETS, "secret": {"secretName": name, "defaultMode": 0o444}})
    return found


def build_service(plane: str, namespace: str, release: Release) -> Object | None:
    """What leads to the pods of one release; None where it has no port."""
    if not release.template.ports:
        return None
    labels = set_labels(plane, release)
    selector = set_selector(plane, release.instance, release.number)
    name = set_name(release.instance, release.number)
    return _service(namespace, name, labels, selector, release.template)


def build_instance_service(plane: str, namespace: str, release: Release) -> Object | None:
    """What leads to whatever runs of the instance, by its own name: how instances of a tenant find
    each other."""
    if not release.template.ports:
        return None
    instance = release.instance
    owner = owner_labels(plane, instance.tenant, instance.name)
    return _service(namespace, service_name(instance), owner | MANAGED_BY, owner, release.template)


def _service(
    namespace: str,
    name: str,
    labels: Mapping[str, str],
    selector: Mapping[str, str],
    template: ReleaseTemplate,
) -> Object:
    ports = [
        {"name": port.name, "port": port.port, "targetPort": port.port, "protocol": "TCP"}
        for port in template.ports
    ]
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {"selector": dict(selector), "ports": ports},
    }


def build_claim(
    plane: str,
    namespace: str,
    instance: ResourceKey,
    volume: str,
    size: str,
    config: KubernetesConfig,
) -> Object:
    labels = owner_labels(plane, instance.tenant, instance.name) | MANAGED_BY
    spec: Object = {
        "accessModes": [config.volume_access],
        "resources": {"requests": {"storage": size}},
    }
    if config.storage_class is not None:
        spec["storageClassName"] = config.storage_class
    name = claim_name(instance, volume)
    labels |= {LABEL_VOLUME: shorten(volume, 63)}
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec}


def build_budget(plane: str, namespace: str, action: ScaleReplicaSet) -> Object | None:
    """How many pods may be moved away at once; None for a single one, which nobody could ever move
    then."""
    if action.max_unavailable is None or action.replicas < 2:
        return None
    release = action.release
    selector = set_selector(plane, release.instance, release.number)
    return {
        "metadata": {
            "name": set_name(release.instance, release.number),
            "namespace": namespace,
            "labels": set_labels(plane, release),
        },
        "spec": {
            "maxUnavailable": max(1, action.max_unavailable),
            "selector": {"matchLabels": selector},
        },
    }


def build_namespace(plane: str, tenant: str, name: str) -> Object:
    return {"metadata": {"name": name, "labels": owner_labels(plane, tenant) | MANAGED_BY}}


def build_account(plane: str, tenant: str, namespace: str) -> Object:
    """Whom pods are: somebody of their own who may do nothing."""
    labels = owner_labels(plane, tenant) | MANAGED_BY
    return {
        "metadata": {"name": ACCOUNT, "namespace": namespace, "labels": labels},
        "automountServiceAccountToken": False,
    }


def fingerprint(desired: Object) -> str:
    """Changes with what is asked for.

    >>> fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    True
    """
    text = json.dumps(desired, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def mark(desired: Object, print_: str) -> Object:
    """The object, which carries what it was made from."""
    metadata = desired["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED: print_}
    return desired | {"metadata": metadata | {"annotations": annotations}}


def own(desired: Object, deployment: Mapping[str, Any]) -> Object:
    """The object, which goes when its Deployment does."""
    metadata = deployment["metadata"]
    owner = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    return desired | {"metadata": desired["metadata"] | {"ownerReferences": [owner]}}
