"""Ten thousand requests that nobody's documentation describes: never 5xx, and only what is signed
and readable leads to a look. Most are signed, so that what reads them is reached."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from ctrlplane_gitops.state.delivery import DeliveryOutcome
from tests.api.hook_kit import Hooks, push_body, signed
from tests.source.hooks import FORM, SENDERS, Headers, as_form

REQUESTS = 10_000
ANSWERS = {200, 202, 400, 401, 404, 405, 413}
ODD: list[Any] = [
    None, True, 0, -1, 1e308, 10**400, "", "x" * 5000, "\ud800", "refs/heads/main", "../..",
    "\u202erefs", "a\x00b", [], {}, [[]], [None], {"": {}}, [{"a": 1}], "0" * 40, "f" * 64,
    "https://[::1", "git@:x", "%s%n", "'; DROP TABLE deliveries; --", "<script>",
]  # fmt: skip


def cut(rng: random.Random, body: bytes) -> bytes:
    return body[: rng.randrange(len(body) + 1)]


def flip(rng: random.Random, body: bytes) -> bytes:
    made = bytearray(body)
    for _ in range(rng.randrange(1, 20)):
        made[rng.randrange(len(made))] = rng.randrange(256)
    return bytes(made)


def noise(rng: random.Random, body: bytes) -> bytes:
    return rng.randbytes(rng.randrange(400))


def nest(rng: random.Random, body: bytes) -> bytes:
    opened = rng.choice([b"[", b'{"a":', b'{"repository":', b'{"push":{"changes":['])
    return opened * rng.choice([3, 500, 100_000 // len(opened)])


def replace_some(rng: random.Random, body: bytes) -> bytes:
    """Odd values at some of the places a payload has."""
    value = json.loads(body)
    for _ in range(rng.randrange(1, 4)):
        place = value
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = rng.choice(keys)
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
                place[key] = deepcopy(rng.choice(ODD))
                break
            place = inner
    return json.dumps(value).encode()


def put_twice(rng: random.Random, body: bytes) -> bytes:
    return body[:-1] + b"," + rng.choice([b'"ref": 1}', b'"id": {}}', b'"after": "x"}'])


def encode(rng: random.Random, body: bytes) -> bytes:
    text = body.decode()
    return text.encode(rng.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7"]))


WAYS: list[Callable[[random.Random, bytes], bytes]] = [
    cut, flip, noise, nest, replace_some, replace_some, put_twice, encode,
    lambda rng, body: body,
]  # fmt: skip


def odd_headers(rng: random.Random, headers: Headers) -> Headers:
    """As sent, or some left out, twice, or with other values."""
    if rng.random() < 0.5:
        return headers
    made = list(headers)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(made))
        name = made[at][0]
        text = "".join(chr(rng.choice([*range(32, 127), *range(160, 256)])) for _ in range(20))
        made[at] = (name, rng.choice(["", " ", text, "push", "ping", "x" * 300, FORM[1], "0"]))
        if rng.random() < 0.2:
            made.append(made[at])
    return made


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_is_sent_is_answered_with_5xx(seed: int) -> None:
    rng, hooks = random.Random(seed), Hooks()
    client = hooks.build().test_client()
    answers: Counter[int] = Counter()
    for _ in range(REQUESTS // 4):
        way = rng.choice(list(SENDERS))
        body = rng.choice(WAYS)(rng, push_body())
        if rng.random() < 0.1:
            body = as_form(body)
        is_signed = rng.random() < 0.85
        headers = signed(way, body if is_signed else body + b"!")
        sender = SENDERS[way][0] if rng.random() < 0.97 else rng.choice(["x", "GITHUB", "%00"])
        answer = client.post(
            f"/hooks/{sender}", data=body, headers=odd_headers(rng, headers),
            method=rng.choice(["POST"] * 30 + ["PUT"]),
        )  # fmt: skip
        answers[answer.status_code] += 1
        assert answer.status_code in ANSWERS, (sender, headers, body[:200])
        assert answer.is_json, answer.data
    assert hooks.bugs == []
    # Each kind of answer was given, so each way through was taken.
    assert min(answers[status] for status in (200, 202, 400, 401, 404)) > 10, answers
    rows = hooks.rows()
    accepted = [row for row in rows if row.outcome is DeliveryOutcome.ACCEPTED]
    assert len(accepted) == hooks.woken == answers[202]
    rejected = sum(row.count for row in rows if row.outcome is DeliveryOutcome.REJECTED)
    assert rejected == answers[400] + answers[401]
