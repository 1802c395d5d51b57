"""Whatever is sent, the API answers as its description says, and never by failing: requests are
made up from the description, and sent to an application that is served."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import positive_data_acceptance

from ctrlplane_gitops.api.server import Server, bind, url_of
from ctrlplane_gitops.state.access import Role
from tests.api.scene import Scene, bearer

EXAMPLES = 20


class Served:
    def __init__(self) -> None:
        self.scene = Scene()
        self.headers = bearer(self.scene.declare(Role.ADMIN))
        self.listening = bind("127.0.0.1", 0)
        self.url = url_of(self.listening)
        self.server = Server(self.scene.build(), self.listening)
        self.server.start()
        self.session = requests.Session()

    def stop(self) -> None:
        self.session.close()
        self.server.stop(timedelta(seconds=5))
        self.listening.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.stop()


def read_operations() -> list[Any]:
    description = Scene().client().get("/api/v1/openapi.json").get_json()
    schema = schemathesis.openapi.from_dict(description)
    return [item.ok() for item in schema.get_all_operations()]


@pytest.mark.parametrize("operation", read_operations(), ids=lambda item: item.label)
def test_whatever_is_sent_is_answered_as_it_is_described(operation: Any, served: Served) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any) -> None:
        # Which cursors there are, no description can say.
        left_out = [positive_data_acceptance] if case.query and "cursor" in case.query else []
        case.call_and_validate(
            base_url=served.url,
            headers=served.headers,
            excluded_checks=left_out,
            session=served.session,
        )
        assert not served.scene.bugs

    send()
