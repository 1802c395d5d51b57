"""``$(NAME)`` in commands, by the rules of Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")


def expand(text: str, env: Mapping[str, str]) -> str:
    """The text with every known ``$(NAME)`` replaced; ``$$`` is an escaped ``$`` and an unknown
    reference stays as it is. Source: Kubernetes ``third_party/forked/golang/expansion``.

    >>> expand("listen $(PORT) $(OTHER) $$(PORT)", {"PORT": "80"})
    'listen 80 $(OTHER) $(PORT)'
    >>> expand("costs 5$ or $$5", {})
    'costs 5$ or $5'
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return env.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)
