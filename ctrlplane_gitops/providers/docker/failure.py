"""Everything the SDK raises, translated once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from docker.errors import APIError, DockerException

from ctrlplane_gitops.errors import ProviderError, UnreachableError

# A conflict that passes by itself: the engine is still busy with what was asked before, or has just
# carried out what a killed caller asked for (the next try removes the second network).
_PASSING = re.compile(r"is already in progress|network \S+ is ambiguous")
_NO_SUBNET = "non-overlapping IPv4 address pool"
_SUBNET_HINT = "give dockerd more or smaller `default-address-pools`: each tenant has a network"


@contextmanager
def translated(provider: str, what: str) -> Iterator[None]:
    """``what`` is what was tried, as in ``cannot <what>``.

    An engine that does not answer, or too late, is an UnreachableError. An answer of 5xx may be
    another one next time; 4xx stays what it is until something is changed.
    """
    try:
        yield
    except APIError as error:
        text = engine_text(error)
        is_retryable = error.is_server_error() or bool(_PASSING.search(text))
        hint = _SUBNET_HINT if _NO_SUBNET in text else None
        raise ProviderError(
            f"{provider}: cannot {what}: {text}",
            hint=hint,
            is_retryable=is_retryable and hint is None,
        ) from error
    except (
        DockerException,
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        OSError,
    ) as error:
        raise UnreachableError(
            f"{provider}: the Docker engine does not answer: {_cause(error)}",
            hint="is it running, and may this user open its socket?",
        ) from error


def engine_text(error: APIError) -> str:
    """The engine's own words."""
    return str(error.explanation or error).strip()


def _cause(error: BaseException) -> str:
    """The innermost reason: what the libraries wrap around it says nothing."""
    while True:
        inner = error.__cause__ or error.__context__
        if inner is None or isinstance(inner, APIError):
            return str(error) or type(error).__name__
        error = inner
