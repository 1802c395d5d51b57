"""Events as lines while an apply runs."""

from __future__ import annotations

from collections.abc import Callable

from ctrlplane_gitops.cli.terminal import Terminal
from ctrlplane_gitops.clock import Clock, rfc3339
from ctrlplane_gitops.redact import one_line
from ctrlplane_gitops.state.key import ResourceKey
from ctrlplane_gitops.state.recorded import Event


def event_printer(terminal: Terminal, clock: Clock) -> Callable[[Event], None]:
    """For a person: who, what, and how long since the apply began. For a log: the time, the type
    and the address first, one event a line."""
    began = clock.now()

    def print_for_person(event: Event) -> None:
        elapsed = (event.at - began).total_seconds()
        terminal.note(one_line(f"{event.address}: {event.message} [{elapsed:.1f}s]"))

    def print_for_log(event: Event) -> None:
        terminal.note(one_line(f"{rfc3339(event.at)} {event.type} {event.address} {event.message}"))

    return print_for_person if terminal.is_interactive else print_for_log


def wait_printer(terminal: Terminal, clock: Clock) -> Callable[[ResourceKey, str], None]:
    """What an instance waits for, every now and then: a silent terminal looks like a dead one."""
    began = clock.now()

    def print_wait(instance: ResourceKey, text: str) -> None:
        now = clock.now()
        if terminal.is_interactive:
            line = f"{instance}: still waiting: {text} [{int((now - began).total_seconds())}s]"
        else:
            line = f"{rfc3339(now)} waiting {instance} {text}"
        terminal.note(one_line(line))

    return print_wait
