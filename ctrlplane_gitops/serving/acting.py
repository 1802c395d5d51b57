"""What people ask over HTTP, done: orders and pins through the passes, the rest at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from ctrlplane_gitops.api.action import MAX_OUTPUT, Actions, CheckRow, ExecRow, LogRow, Told
from ctrlplane_gitops.api.errors import Refusal
from ctrlplane_gitops.api.guard import not_found
from ctrlplane_gitops.app import App, open_providers
from ctrlplane_gitops.errors import CtrlplaneError, SourceError, UsageError
from ctrlplane_gitops.execute.pool import Pool
from ctrlplane_gitops.execute.probing import probe_once
from ctrlplane_gitops.ids import IdPrefix, new_id
from ctrlplane_gitops.providers.base import Provider
from ctrlplane_gitops.reconcile.inside import choose_running, find_replicas, open_logs
from ctrlplane_gitops.reconcile.observe import observe_all
from ctrlplane_gitops.reconcile.order import Steer, give_order
from ctrlplane_gitops.reconcile.pin import build_pin
from ctrlplane_gitops.reconcile.run import Amendment
from ctrlplane_gitops.serving.tailing import Tailing, log_row
from ctrlplane_gitops.state.desired import DesiredInstance, DesiredState
from ctrlplane_gitops.state.key import Kind, ResourceKey, tenant_key
from ctrlplane_gitops.state.observed import ReplicaPhase
from ctrlplane_gitops.state.recorded import AuditEntry
from ctrlplane_gitops.status.instance import replica_set_rows
from ctrlplane_gitops.status.live import Live
from ctrlplane_gitops.status.view import build_status
from ctrlplane_gitops.store.base import Store
from ctrlplane_gitops.value import struct

_LOOKS, _PROBES = 4, 16
# Each holds one of the threads that answer for as long as its command runs.
_COMMANDS = 8


@struct
class Wishes:
    """Who carries out what cannot be done here. ``ask`` has instances (None: all) held against
    what runs; ``amend`` has a pass begin with a change of the record; ``run_worker`` lets a worker
    run; False where there is none of that name."""

    ask: Callable[[Collection[ResourceKey] | None], None]
    amend: Callable[[ResourceKey, Amendment], None]
    run_worker: Callable[[str], bool]


class Acting:
    """``read_desired`` is what Git says (None: not known yet), ``read_store`` the store that may be
    written. With threads of its own, so that nobody who asks holds up a pass."""

    def __init__(
        self,
        app: App,
        read_desired: Callable[[], DesiredState | None],
        read_store: Callable[[], Store],
        wishes: Wishes,
    ) -> None:
        self._app, self._wishes = app, wishes
        self._read_desired, self._read_store = read_desired, read_store
        self._commands = threading.Semaphore(_COMMANDS)
        self._looks, self._probes = Pool(_LOOKS, "ask-look"), Pool(_PROBES, "ask-probe")

    @property
    def actions(self) -> Actions:
        return Actions(
            self._steer,
            self._roll_back,
            self._reconcile,
            self._run_check,
            self._execute,
            self._read_logs,
            self._follow_logs,
            self._run_worker,
        )

    def close(self) -> None:
        self._looks.close()
        self._probes.close()

    def _steer(self, actor: str, key: ResourceKey, steer: Steer) -> Told:
        self._require(key)
        order = give_order(self._read_store(), self._app.clock.now(), actor, key, steer)
        if steer.is_followed:
            self._wishes.ask([key])
        return Told(key.address, f"v{order.target}: {steer.said}")

    def _roll_back(self, actor: str, key: ResourceKey, number: int | None, is_clear: bool) -> Told:
        self._require(key)
        if number is not None and is_clear:
            raise UsageError("'to' and 'clear' exclude each other")
        wanted = None if number is None else f"v{number}"
        pin = build_pin(key, self._app.clock, actor, wanted, is_clear=is_clear)
        # What cannot be is refused now, and not found out by a pass that nobody hears of.
        pinned = pin.change(self._read_store().load_state([key.tenant])).instances[key].pin
        self._wishes.amend(key, pin)
        what = "Git will be followed again" if pinned is None else f"v{pinned} will be pinned"
        return Told(key.address, what)

    def _reconcile(self, actor: str, tenant: str | None) -> Told:
        desired = self._desired()
        keys = [key for key in desired.instances if key.tenant == tenant]
        if tenant is not None and not keys:
            state = self._read_store().load_state([tenant])
            if tenant_key(tenant) not in state.resources:
                raise not_found()
        address = (
            f"{Kind.CONTROL_PLANE}/{desired.plane.name}"
            if tenant is None
            else tenant_key(tenant).address
        )
        self._audit(actor, "reconcile", address, "asked")
        self._wishes.ask(None if tenant is None else keys)
        return Told(address, "a pass will be made")

    def _run_worker(self, actor: str, name: str) -> Told:
        address = f"{Kind.CONTROL_PLANE}/{self._desired().plane.name}"
        if not self._wishes.run_worker(name):
            raise not_found()
        self._audit(actor, f"run {name}", address, "asked")
        return Told(address, f"{name} will run")

    def _run_check(self, actor: str, key: ResourceKey) -> CheckRow:
        instance, desired = self._require(key), self._desired()
        with self._providers(desired) as providers:
            observed = observe_all(providers, self._looks, [key])
            now = self._app.clock.now()
            wanted = [
                (providers[item.provider], replica, instance.health)
                for item in observed.replica_sets
                for replica in item.replicas
                if replica.phase is ReplicaPhase.RUNNING
            ]
            verdicts = probe_once(self._probes, wanted, now)
        recorded = self._read_store().load_state([key.tenant])
        document = build_status(desired.plane.name, "", desired, recorded, observed, verdicts)
        rows = replica_set_rows(key, Live(now, document, observed, verdicts))
        bad = sum(item.is_ready is False for row in rows for item in row.replicas)
        self._audit(actor, "run-check", key.address, f"{bad} not ready" if bad else "ready")
        return CheckRow(key.address, now, rows)

    def _execute(
        self,
        actor: str,
        key: ResourceKey,
        command: Sequence[str],
        index: int | None,
        timeout: timedelta,
    ) -> ExecRow:
        self._require(key)
        if not self._commands.acquire(blocking=False):
            said = f"{_COMMANDS} commands are running already"
            raise Refusal(503, "too-many-commands", said, {"Retry-After": "5"})
        try:
            return self._run_command(actor, key, command, index, timeout)
        finally:
            self._commands.release()

    def _run_command(
        self,
        actor: str,
        key: ResourceKey,
        command: Sequence[str],
        index: int | None,
        timeout: timedelta,
    ) -> ExecRow:
        # Arguments may be secret; who ran what program is not.
        action = f"exec {command[0][:80]}"
        with self._providers(self._desired()) as providers:
            chosen = choose_running(find_replicas(providers, self._looks, key, index), key)
            self._audit(actor, action, key.address, f"begun in {chosen.replica.name}")
            try:
                result = chosen.provider.execute(
                    chosen.replica.name, command, timeout, limit=MAX_OUTPUT + 1
                )
            except CtrlplaneError as error:
                self._audit(actor, action, key.address, f"{error.code}")
                raise
        self._audit(actor, action, key.address, f"exit {result.exit_code}")
        is_truncated = len(result.output) > MAX_OUTPUT
        text = result.output[:MAX_OUTPUT].decode("utf-8", "replace")
        return ExecRow(chosen.replica.name, result.exit_code, text, is_truncated)

    def _read_logs(self, key: ResourceKey, index: int | None, tail: int) -> Sequence[LogRow]:
        self._require(key)
        with self._providers(self._desired()) as providers:
            found = find_replicas(providers, self._looks, key, index)
            streams = open_logs(found, tail=tail, is_follow=False, is_merged=False)
            return [log_row(item) for stream in streams for item in stream]

    def _follow_logs(self, key: ResourceKey, index: int | None, tail: int) -> Tailing:
        self._require(key)
        return Tailing(self._app, self._desired().plane, self._looks, key, index, tail)

    def _desired(self) -> DesiredState:
        found = self._read_desired()
        if found is None:
            raise SourceError("the specs have not been read yet", is_retryable=True)
        return found

    def _require(self, key: ResourceKey) -> DesiredInstance:
        """Refusal where Git has no such instance."""
        found = self._desired().instances.get(key)
        if found is None:
            raise not_found()
        return found

    @contextmanager
    def _providers(self, desired: DesiredState) -> Iterator[Mapping[str, Provider]]:
        with open_providers(self._app, desired.plane) as providers:
            yield providers

    def _audit(self, actor: str, action: str, address: str, outcome: str) -> None:
        now = self._app.clock.now()
        entry = AuditEntry(new_id(IdPrefix.AUDIT, now), now, actor, action, address, "", outcome)
        self._read_store().write_audit(entry)
