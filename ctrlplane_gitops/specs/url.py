"""URLs that requests are made to without credentials."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from ctrlplane_gitops.specs.credential import is_credential_name
from ctrlplane_gitops.specs.problem import Field, Problem, format_field

MAX_URL = 2048
_HINT = "requests are made without credentials, and none may stand in Git"


def find_url_problems(url: str, where: Field) -> Iterator[Problem]:
    """What is wrong with the URL at ``where`` below the spec; never shows it.

    >>> def codes(url):
    ...     return [problem.code for problem in find_url_problems(url, ("url",))]
    >>> codes("https://status.example.com:8443/rate?of=web"), codes("ftp://host")
    ([], ['wrong-value'])
    >>> codes("http://me:pass@host"), codes("http://host/?api_key=abc")
    (['clear-secret'], ['clear-secret'])
    """
    shown = format_field(("spec", *where))
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if not is_url or not is_plain or len(url) > MAX_URL:
        summary = f"{shown} is not an http or https URL such as 'http://prometheus:9090'"
        yield Problem("wrong-value", summary, field=where)
    elif "@" in parts.netloc:
        yield Problem("clear-secret", f"{shown} carries a user or a password", _HINT, where)
    elif any(is_credential_name(name) for name, _ in parse_qsl(parts.query)):
        yield Problem("clear-secret", f"{shown} carries a credential in its query", _HINT, where)
    elif parts.fragment:
        yield Problem("wrong-value", f"{shown} may not have a fragment (#)", field=where)
