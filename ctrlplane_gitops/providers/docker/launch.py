"""Making the containers of a replica set: what they share first, then each of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from docker.errors import APIError
from docker.types import Mount

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.container import (
    build_environment,
    expand_command,
    place_paths,
    secret_environment,
    working_dir_of,
)
from ctrlplane_gitops.providers.docker.config import DockerConfig
from ctrlplane_gitops.providers.docker.engine import Engine
from ctrlplane_gitops.providers.docker.failure import translated
from ctrlplane_gitops.providers.docker.image import Images
from ctrlplane_gitops.providers.docker.limits import creation_limits
from ctrlplane_gitops.providers.docker.network import ensure_network
from ctrlplane_gitops.providers.docker.secret_file import SecretFiles
from ctrlplane_gitops.providers.docker.translate import check_template, pack_files, replica_labels
from ctrlplane_gitops.providers.docker.volume import ensure_volumes
from ctrlplane_gitops.providers.effects import Effects
from ctrlplane_gitops.providers.scaling import check_material, replica_name
from ctrlplane_gitops.state.action import Material, ScaleReplicaSet
from ctrlplane_gitops.value import replace, struct


@struct
class Launch:
    """What every replica of one scaling shares. ``warnings`` grows while containers are made."""

    image: str
    network: str
    volumes: Mapping[str, str]
    secret_files: Mapping[str, str]
    environment: Mapping[str, str]
    archive: bytes | None
    warnings: list[str]
    working_dir: str | None = None


class Launcher:
    """Makes containers for one control plane on one engine."""

    def __init__(
        self, plane: str, config: DockerConfig, engine: Engine, secret_files: SecretFiles
    ) -> None:
        self._plane = plane
        self._config = config
        self._engine = engine
        self._secret_files = secret_files
        self._networks = threading.Lock()

    def prepare(self, action: ScaleReplicaSet, material: Material, effects: Effects) -> Launch:
        """Image, network, volumes, secret files: everything that can be missing is found out
        before the first container is made."""
        release, instance = action.release, action.instance
        name, working_dir = self._engine.name, working_dir_of(release.template)
        check_template(release.template, instance, is_local=self._config.is_local)
        release = replace(release, template=place_paths(release.template))
        template = release.template
        check_material(template, material)
        environment = build_environment(template) | secret_environment(template, material)
        client = self._engine.client
        image = release.resolved.get("image") or template.image or ""
        images = Images(client, effects, template, material)
        with translated(name, f"find image {image}"):
            images.ensure(image)
        with translated(name, f"make the network of {instance.tenant}"):
            network = self.ensure_network(instance.tenant, effects)
        with translated(name, f"make the volumes of {instance}"):
            volumes = ensure_volumes(client, effects, self._plane, instance, template)
        warnings = [
            f"{instance}: Docker does not enforce the size of volume {volume.name!r}"
            for volume in template.volumes
            if volume.size_bytes is not None
        ]
        return Launch(
            image,
            network,
            volumes,
            self._secret_files.write(release, material, effects),
            environment,
            pack_files(template, material.files, release.created_at) if template.files else None,
            warnings,
            working_dir,
        )

    def ensure_network(self, tenant: str, effects: Effects) -> str:
        """The name of the tenant's network, made where it is not there."""
        client = self._engine.client
        return ensure_network(client, effects, self._plane, tenant, self._networks)

    def start(self, action: ScaleReplicaSet, launch: Launch, index: int, effects: Effects) -> None:
        """Create, fill, start. One that was left half-way is replaced by the next pass."""
        engine = self._engine
        replica = replica_name(self._plane, action.instance, action.release.number, index)
        container = self._create(action, launch, index, effects)
        if launch.archive is not None:
            with (
                translated(engine.name, f"put files into {replica}"),
                effects.made(f"files:{replica}"),
            ):
                engine.client.put_archive(container, "/", launch.archive)
        with translated(engine.name, f"start {replica}"), effects.made(f"start:{replica}"):
            engine.client.start(container)

    def _create(self, action: ScaleReplicaSet, launch: Launch, index: int, effects: Effects) -> str:
        engine = self._engine
        client: Any = engine.client
        replica = replica_name(self._plane, action.instance, action.release.number, index)
        labels = replica_labels(self._plane, action, index)
        template = action.release.template
        taken: ProviderError | None = None
        with translated(engine.name, f"create {replica}"), effects.made(f"create:{replica}"):
            try:
                made = client.create_container(
                    launch.image,
                    command=expand_command(template) or None,
                    name=replica,
                    labels=labels,
                    environment=dict(launch.environment),
                    working_dir=launch.working_dir,
                    ports=[(port.port, "tcp") for port in template.ports],
                    host_config=self._host_config(action, launch),
                    networking_config=client.create_networking_config(
                        {
                            launch.network: client.create_endpoint_config(
                                aliases=[action.instance.name]
                            )
                        }
                    ),
                )
            except APIError as error:
                if error.status_code != 409:
                    raise
                taken = engine.check_name(replica, labels)
        if taken is not None:
            raise taken
        launch.warnings.extend(made.get("Warnings") or ())
        return str(made["Id"])

    def _host_config(self, action: ScaleReplicaSet, launch: Launch) -> dict[str, Any]:
        address = self._config.publish_address
        mounts = [Mount(path, name, type="volume") for path, name in launch.volumes.items()]
        mounts += [
            Mount(path, source, type="bind", read_only=True)
            for path, source in launch.secret_files.items()
        ]
        config: dict[str, Any] = self._engine.client.create_host_config(
            # As process 1 an application without a handler would ignore SIGTERM.
            init=True,
            network_mode=launch.network,
            port_bindings={port.port: (address,) for port in action.release.template.ports},
            mounts=mounts,
            restart_policy={"Name": self._config.restart_policy},
            **creation_limits(action.resources),
        )
        return config
