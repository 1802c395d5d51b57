"""What every provider must do for those who look into a replica; see ``conformance.py``."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.providers.base import Capability, Provider
from ctrlplane_gitops.providers.conformance_kit import ConformanceKit, wait_until
from ctrlplane_gitops.providers.halt import Halt


class InsideClaims(ConformanceKit):
    """Logs and commands."""

    def test_logs_hold_what_the_replica_printed(self, provider: Provider) -> None:
        self.needs(provider, Capability.LOGS)
        self.scale(provider, self.make_release(), 1)
        name = self.live(provider)[0].name
        wait_until(lambda: len(self.log_text(provider, name)) >= 2, "two log lines")
        assert sorted(self.log_text(provider, name)) == ["hello", "oops"]
        assert len(list(provider.read_logs(name, tail=1, is_follow=False))) == 1
        line = next(iter(provider.read_logs(name, tail=None, is_follow=False)))
        assert line.replica == name

    def test_who_follows_a_log_that_is_silent_can_be_let_go(self, provider: Provider) -> None:
        self.needs(provider, Capability.LOGS)
        command = ("python3", "-u", "-c", "import time; print('up'); time.sleep(600)")
        self.scale(provider, self.make_release(command=command), 1)
        name, halt, lines = self.live(provider)[0].name, Halt(), list[str]()

        def follow() -> None:
            for line in provider.read_logs(name, tail=None, is_follow=True, halt=halt):
                lines.append(line.text)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        wait_until(lambda: lines == ["up"], "the first line")
        halt.set()
        thread.join(5)
        assert not thread.is_alive()
        # Whoever comes too late does not wait either.
        list(provider.read_logs(name, tail=1, is_follow=True, halt=halt))

    def test_logs_of_an_unknown_replica_are_an_error(self, provider: Provider) -> None:
        self.needs(provider, Capability.LOGS)
        with pytest.raises(ProviderError, match="v9"):
            list(provider.read_logs(self.replica(0, 9), tail=None, is_follow=False))

    def test_exec_gives_output_and_the_real_exit_code(self, provider: Provider) -> None:
        self.needs(provider, Capability.EXEC)
        self.scale(provider, self.make_release(), 1)
        name = self.live(provider)[0].name
        code, output = self.run(provider, name, "print('inside'); raise SystemExit(7)")
        assert (code, output.strip()) == (7, "inside")

    def test_exec_keeps_as_much_of_the_output_as_is_asked_for(self, provider: Provider) -> None:
        self.needs(provider, Capability.EXEC)
        self.scale(provider, self.make_release(), 1)
        name = self.live(provider)[0].name
        script = "print('begin' + 'x' * 3_000_000, flush=True); raise SystemExit(3)"
        command, timeout = ("python3", "-c", script), timedelta(seconds=20)
        result = provider.execute(name, command, timeout, limit=1000)
        assert (result.exit_code, result.output) == (3, b"begin" + b"x" * 995)

    def test_exec_that_cannot_start_or_end_is_an_error(self, provider: Provider) -> None:
        self.needs(provider, Capability.EXEC)
        self.scale(provider, self.make_release(), 1)
        name = self.live(provider)[0].name
        with pytest.raises(ProviderError):
            provider.execute(self.replica(0, 9), ("python3", "-V"), timedelta(seconds=5))
        slow = ("python3", "-c", "import time; time.sleep(60)")
        with pytest.raises(ProviderError):
            provider.execute(name, slow, timedelta(seconds=1))
