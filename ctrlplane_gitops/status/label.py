"""Labels that a list is narrowed by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ctrlplane_gitops.status.instance import labels_of


def parse_labels(text: str) -> tuple[tuple[str, str | None], ...]:
    """
    >>> parse_labels("ring=early, plan")
    (('ring', 'early'), ('plan', None))
    """
    parts = (part.strip().partition("=") for part in text.split(",") if part.strip())
    return tuple((name, value if equals else None) for name, equals, value in parts)


def has_labels(attributes: Mapping[str, object], wanted: Iterable[tuple[str, str | None]]) -> bool:
    labels = labels_of(attributes)
    return all(
        name in labels if value is None else labels.get(name) == value for name, value in wanted
    )
