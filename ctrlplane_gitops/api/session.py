"""Who has logged in with a browser. Kept in memory: whoever restarts logs everybody out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import threading
from collections import OrderedDict
from datetime import datetime, timedelta

from ctrlplane_gitops.clock import Clock
from ctrlplane_gitops.ids import new_secret
from ctrlplane_gitops.value import struct

COOKIE = "ctrlplane_session"
_LIFETIME = timedelta(hours=12)
_MOST = 10_000
_FAILURES, _WINDOW = 10, timedelta(minutes=1)


@struct
class _Session:
    digest: str
    expires_at: datetime


class Sessions:
    """A session is a random id in a cookie, here known by its digest, that stands for a token: who
    takes the token out of Git ends it. Safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._key = os.urandom(32)
        self._known: OrderedDict[bytes, _Session] = OrderedDict()

    def begin(self, token_digest: str) -> str:
        """The cookie's value. The oldest session ends where there are too many."""
        value = new_secret("cps")
        session = _Session(token_digest, self._clock.now() + _LIFETIME)
        with self._lock:
            self._known[_digest(value)] = session
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return value

    def find(self, value: str) -> str | None:
        """The digest of the token that a cookie stands for; None where it stands for none."""
        key = _digest(value)
        with self._lock:
            found = self._known.get(key)
            if found is None:
                return None
            if found.expires_at <= self._clock.now():
                del self._known[key]
                return None
            return found.digest

    def end(self, value: str) -> None:
        with self._lock:
            self._known.pop(_digest(value), None)

    def sign(self, value: str) -> str:
        """What a form has to bring along that is sent with this cookie ("": without one)."""
        made = hmac.new(self._key, value.encode("utf-8", "surrogateescape"), "sha256").digest()
        return base64.urlsafe_b64encode(made).decode().rstrip("=")

    def is_signed(self, value: str, given: str) -> bool:
        wanted = self.sign(value).encode()
        return hmac.compare_digest(wanted, given.encode("utf-8", "surrogateescape"))


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()


class Attempts:
    """Counts what was no token, by where it came from. A token is taken whatever was tried before:
    it cannot be guessed, so this only keeps those who try from being answered for ever."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, tuple[datetime, int]] = OrderedDict()

    def fail(self, place: str) -> timedelta | None:
        """Count one more; how long to wait where there have been too many."""
        now = self._clock.now()
        with self._lock:
            since, count = self._failed.pop(place, (now, 0))
            if now - since >= _WINDOW:
                since, count = now, 0
            self._failed[place] = (since, count + 1)
            while len(self._failed) > _MOST:
                self._failed.popitem(last=False)
            return None if count < _FAILURES else _WINDOW - (now - since)
