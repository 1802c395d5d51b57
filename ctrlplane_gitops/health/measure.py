"""One measurement of a canary: a query, a value of some JSON, a command.

What a router counted is in ``traffic``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, assert_never
from urllib.parse import quote

from ctrlplane_gitops.errors import CtrlplaneError
from ctrlplane_gitops.http.fetch import FetchError, Reply, fetch
from ctrlplane_gitops.state.analysis import (
    CommandMetric,
    HttpMetric,
    Measurement,
    PrometheusMetric,
    parse_json_path,
)
from ctrlplane_gitops.state.expand import expand

RunCommand = Callable[[Sequence[str], timedelta], int]
Asked = PrometheusMetric | HttpMetric | CommandMetric

_MAX_QUOTED = 160
_LARGEST = 1e300


def measure(
    metric: Asked, names: Mapping[str, str], run_command: RunCommand, timeout: timedelta
) -> Measurement:
    """Measure once. Never raises for a source that fails, and takes no longer than ``timeout``
    (resolving a host name excepted). ``names`` are what ``$(RELEASE)`` and others stand for.
    ``run_command`` runs the command in a replica of the new release and returns its exit code; it
    may raise ``CtrlplaneError`` or ``TimeoutError``."""
    try:
        match metric:
            case PrometheusMetric():
                query = quote(expand(metric.query, names), safe="")
                url = f"{metric.address.rstrip('/')}/api/v1/query?query={query}"
                return read_query(fetch(url, timeout))
            case HttpMetric():
                return read_json(fetch(expand(metric.url, names), timeout), metric.path)
            case CommandMetric():
                command = [expand(word, names) for word in metric.command]
                return Measurement(run_command(command, timeout))
            case _:
                assert_never(metric)
    except FetchError as failure:
        return Measurement(error=str(failure))
    except CtrlplaneError as failure:
        return Measurement(error=failure.message)
    except TimeoutError:
        return Measurement(error=f"no answer within {timeout.total_seconds():g}s")
    except OSError as failure:
        return Measurement(error=(failure.strerror or type(failure).__name__).lower())


def names_of(tenant: str, instance: str, release: int, previous: int | None) -> dict[str, str]:
    """What may be written in a query, a URL and a command. Releases are numbers, as in the label
    ``ctrlplane.dev/release``."""
    return {
        "TENANT": tenant,
        "INSTANCE": instance,
        "RELEASE": str(release),
        "PREVIOUS": "" if previous is None else str(previous),
    }


def read_json(reply: Reply, path: str) -> Measurement:
    """The value at a path; no data where there is none, or where it is null or NaN."""
    if not 200 <= reply.status < 300:
        return Measurement(error=f"status {reply.status}")
    try:
        found = _load(reply.body)
    except ValueError:
        return Measurement(error="the answer is not JSON")
    for part in parse_json_path(path):
        is_there = (isinstance(found, list) and isinstance(part, int) and part < len(found)) or (
            isinstance(found, dict) and part in found
        )
        if not is_there:
            return Measurement(note=f"the answer has no {path}")
        found = found[part]
    if found is None:
        return Measurement(note=f"{path} is null")
    if isinstance(found, dict | list):
        what = "a mapping" if isinstance(found, dict) else "a list"
        return Measurement(error=f"{path} is {what}")
    return _sound(found) if not isinstance(found, str | bool) else Measurement(found)


def read_query(reply: Reply) -> Measurement:
    """The one value of an instant query. Source: Prometheus HTTP API, "Instant queries" and
    "Expression query result formats"."""
    try:
        answer = _load(reply.body)
        if answer["status"] != "success":
            kind, text = str(answer.get("errorType")), str(answer.get("error"))
            return Measurement(error=f"the query failed ({_quoted(kind)}): {_quoted(text)}")
        data = answer["data"]
        if data["resultType"] == "vector":
            if len(data["result"]) > 1:
                count = len(data["result"])
                return Measurement(error=f"the query gives {count} series, not one: aggregate it")
            if not data["result"]:
                return Measurement(note="the query gives no series")
            return _sound(float(data["result"][0]["value"][1]))
        if data["resultType"] == "scalar":
            return _sound(float(data["result"][1]))
        kind = _quoted(str(data["resultType"]))
        return Measurement(error=f"the query gives a {kind}, not one value")
    except (ValueError, LookupError, TypeError, AttributeError):
        if reply.status != 200:
            return Measurement(error=f"status {reply.status}")
        return Measurement(error="the answer is not that of a Prometheus")


def _load(body: bytes) -> Any:
    """ValueError for what is no JSON, or is nested too deeply to be an answer."""
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _sound(number: float) -> Measurement:
    if isinstance(number, int) and abs(number) > _LARGEST:
        return Measurement(error="the number is too large")
    return Measurement(note="the value is NaN") if math.isnan(number) else Measurement(number)


def _quoted(text: str) -> str:
    """An error's text of the source: about the query, so it may be shown; printable and cut."""
    shown = "".join(char if char.isprintable() else " " for char in text[:_MAX_QUOTED])
    return shown + ".." if len(text) > _MAX_QUOTED else shown
