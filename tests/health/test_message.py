"""Our bytes against the official messages."""

from __future__ import annotations

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from hypothesis import given
from hypothesis import strategies as st

from ctrlplane_gitops.health.message import decode_status, encode_request

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
# Fields 2 to 5 of each kind, which the message does not have.
UNKNOWN = st.sampled_from(
    [b"\x10\xac\x02", b"\x19" + b"x" * 8, b"\x22\x03abc", b"\x2d" + b"x" * 4, b"\xa2\x06\x01a"]
)


@given(TEXT)
def test_a_request_is_the_official_one(service: str) -> None:
    assert encode_request(service) == HealthCheckRequest(service=service).SerializeToString()


@given(st.integers(0, 2**31 - 1), st.lists(UNKNOWN), st.lists(UNKNOWN))
def test_an_answer_is_read_whatever_else_is_in_it(
    status: int, before: list[bytes], after: list[bytes]
) -> None:
    own = HealthCheckResponse(status=status).SerializeToString()  # type: ignore[arg-type]
    message = b"".join([*before, own, *after])
    assert HealthCheckResponse.FromString(message).status == decode_status(message) == status


@pytest.mark.parametrize(
    "message", [b"\x08", b"\x08\x80", b"\x22\x05abc", b"\x0f\x01", b"\x19x", b"\x08" + b"\xff" * 11]
)
def test_what_is_no_message_is_an_error(message: bytes) -> None:
    with pytest.raises(ValueError):
        decode_status(message)
