"""A scene with a router, and a look-out who sees when somebody is stopped too early."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ctrlplane_gitops.network.memory import MemoryRouter
from ctrlplane_gitops.network.router import RouterSettings
from ctrlplane_gitops.state.desired import DesiredState, RolloutParams
from ctrlplane_gitops.state.traffic import RouteEntry
from tests.execute.execute_kit import Scene
from tests.plan.plan_kit import App, Way, make_desired

SECOND = timedelta(seconds=1)
QUICK = RolloutParams(min_ready=timedelta(), drain_timeout=5 * SECOND)
WEB, ROUTE = "instance/acme/web", "route/acme/web"


def shop(image: str = "shop:1", *, replicas: int = 2, **more: Any) -> App:
    """An app with a route."""
    app: dict[str, Any] = {"params": QUICK, "routes": (Way(),), "replicas": replicas, **more}
    return App(image, **app)


def acme(image: str = "shop:1", **more: Any) -> DesiredState:
    return make_desired({"acme/web": shop(image, **more)})


class Road:
    """The router of a scene. ``early`` are replicas that were gone while the router still sent
    requests to them, or while one was under way to them. ``when`` are the times of the writes."""

    def __init__(self, scene: Scene, **options: Any) -> None:
        self.scene = scene
        self.options = options
        self.early: list[str] = []
        self.effects: list[str] = []
        self.on_effect: Callable[[str], None] = lambda name: None
        self.router = scene.router = self.restart()
        scene.local.before_look = self._look_out

    def restart(self) -> MemoryRouter:
        """The same router as a new process of ours sees it."""
        options = {"path": "router.json", **self.options}
        settings = RouterSettings("prod", "memory", str(self.scene.root), options, self._tell)
        self.router = self.scene.router = MemoryRouter(settings)
        return self.router

    def _tell(self, name: str) -> None:
        self.effects.append(name)
        self.on_effect(name)

    def _look_out(self) -> None:
        live = {
            replica.name
            for item in self.scene.local.memory.observe().replica_sets
            for replica in item.replicas
        }
        busy = {name for name, count in self.router.faults.in_flight.items() if count}
        for name in sorted({*self.members(), *busy} - live):
            self.early.append(name)

    def entries(self, route: str = ROUTE) -> list[RouteEntry]:
        return [item for item in self.router.served.entries if item.key.address == route]

    def members(self, route: str | None = None) -> list[str]:
        """The names of those who get requests."""
        return sorted(
            {
                member.replica
                for item in self.router.served.entries
                if route is None or item.key.address == route
                for backend in item.backends
                for member in backend.members
            }
        )

    def shares(self, route: str = ROUTE) -> dict[int, tuple[int, int]]:
        """Weight and number of members by release, of the main entry."""
        (main,) = (item for item in self.entries(route) if not item.variant)
        return {item.release: (item.weight, len(item.members)) for item in main.backends}

    @property
    def open_intents(self) -> list[Any]:
        return [item for item in self.scene.intents() if not item[2]]


def served_by_v(number: int, count: int = 2, name: str = "acme.web") -> list[str]:
    return [f"prod.{name}.v{number}.{place}" for place in range(count)]
