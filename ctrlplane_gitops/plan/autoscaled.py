"""What an autoscaler decides: shown, and left alone."""

from __future__ import annotations

from collections.abc import Iterator

from ctrlplane_gitops.diagnostics import Diagnostic, warning
from ctrlplane_gitops.plan.change import Autoscaled
from ctrlplane_gitops.plan.classify import Look, is_targeted
from ctrlplane_gitops.plan.drift import wanted_replicas


def find_autoscaled(look: Look) -> tuple[Autoscaled, ...]:
    """Those that run now, of the instances whose specs leave it to an autoscaler."""
    if look.policy.is_destroy:
        return ()
    found = []
    for key, instance in look.desired.instances.items():
        if not instance.is_autoscaled or not is_targeted(look.policy.targets, key):
            continue
        known, sets = look.recorded.instances.get(key), look.sets.get(key, ())
        own = [item for item in sets if known is not None and item.release == known.release]
        if own:
            found.append(Autoscaled(key, wanted_replicas(instance, own), own[0].scaled_by))
    return tuple(sorted(found, key=lambda item: item.key))


def warn_scaled(look: Look) -> Iterator[Diagnostic]:
    """Somebody else decides, and the specs give a number: it is left alone, which is not what they
    say."""
    for item in look.observed.replica_sets:
        instance = look.desired.instances.get(item.instance) if item.scaled_by else None
        if instance is not None and not instance.is_autoscaled:
            yield warning(
                "autoscaled",
                f"{item.provider}: how many replicas {item.instance} v{item.release} has is decided"
                f" by {item.scaled_by}: {len(item.live)}, and that is left alone",
                hint="say so in Git: replicas: {owner: autoscaler}",
            )
