"""A real Prometheus that scrapes whom it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.engines.program import find_program, free_port, running


def find_prometheus() -> str:
    return find_program("prometheus", "prometheus")


@contextmanager
def prometheus_server(program: str, root: Path, target: str) -> Iterator[str]:
    """Its address. It scrapes ``target`` (host:port) twice a second."""
    config = root / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 400ms}\n"
        f"scrape_configs: [{{job_name: app, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    port = free_port()
    arguments = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={root / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    address = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        try:
            with urlopen(f"{address}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    with running(arguments, root / "prometheus.log", is_ready):
        yield address
