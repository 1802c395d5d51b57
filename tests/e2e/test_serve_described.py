"""A ``serve`` that runs answers as its own description says, whatever is sent to it."""

from __future__ import annotations

from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import positive_data_acceptance

from tests.e2e.plane import Plane
from tests.e2e.test_serve_api import serving_for, tokens

__all__ = ["tokens"]

# What there is, so that more is answered than that there is nothing.
THERE = {"tenant": "acme", "name": "web", "worker": "source", "number": 1}
EXAMPLES = 8


def read_operations(description: Any) -> list[Any]:
    """Streams last for minutes, and tests of their own are about them and about the login."""
    found = [item.ok() for item in schemathesis.openapi.from_dict(description).get_all_operations()]
    left_out = ("/login", "/logout")
    return [it for it in found if not it.path.endswith("/stream") and it.path not in left_out]


def test_it_answers_as_it_is_described(local: Plane, tokens: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {tokens['ops']}"}
    with serving_for(local, tokens) as (serve, clients), requests.Session() as session:
        description = clients["root"].ok("GET", "/api/v1/openapi.json")
        operations = read_operations(description)
        assert len(operations) > 30
        for operation in operations:

            @given(case=operation.as_strategy())
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            def send(case: Any) -> None:
                given = case.path_parameters or {}
                given.update({name: THERE[name] for name in given if name in THERE})
                # Which cursors there are, and what a rollout allows, no description can say.
                case.call_and_validate(
                    base_url=serve.url,
                    headers=headers,
                    session=session,
                    excluded_checks=[positive_data_acceptance],
                )

            send()
        assert not serve.has_said("error:")
