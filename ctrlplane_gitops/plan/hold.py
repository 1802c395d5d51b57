"""What keeps an instance untouched: a provider that did not answer, or one that suddenly shows
nothing. Unknown is never treated as absent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ctrlplane_gitops.plan.change import Blocked
from ctrlplane_gitops.plan.classify import Look
from ctrlplane_gitops.state.key import ResourceKey

MIN_MASS = 10
# Held back because nothing is known of what runs there.
SILENT = frozenset({"gap", "provider-gone"})


def find_gap(look: Look, instance: ResourceKey, providers: Iterable[str]) -> Blocked | None:
    """The first of these providers that says nothing about the instance; None when all do."""
    for provider in sorted(set(providers)):
        if look.observed.gaps:
            gap = look.observed.gap_for(instance, provider)
            if gap is not None:
                return Blocked(
                    "gap",
                    f"provider {provider} did not answer: {gap.reason}",
                    "nothing is done on it until it answers; plan again then",
                )
        if provider not in look.desired.plane.providers:
            return Blocked(
                "provider-gone",
                f"provider {provider} is not configured any more",
                f"put {provider} back under spec.providers until nothing runs there",
            )
    return None


def providers_of(look: Look, instance: ResourceKey) -> frozenset[str]:
    """Where replicas of the instance are or may be, by observation, record and specs."""
    found = {item.provider for item in look.sets.get(instance, ())}
    known = look.recorded.instances.get(instance)
    if known is not None:
        found.add(known.provider)
    resource = look.recorded.resources.get(instance)
    if not found and resource is not None:
        provider = resource.attributes.get("provider")
        found.add(provider if isinstance(provider, str) else look.desired.plane.default_provider)
    return frozenset(found)


def find_vanished(look: Look) -> dict[str, Blocked]:
    """Providers that answered and show none of ten or more instances recorded as running there:
    a restarted engine or a wrong context, not ten failures."""
    if look.policy.is_recreate_allowed or look.policy.is_destroy:
        return {}
    total: Counter[str] = Counter()
    present: set[str] = set()
    for key, known in look.recorded.instances.items():
        if known.release is None or known.provider in present:
            continue
        if any(item.provider == known.provider for item in look.sets.get(key, ())):
            present.add(known.provider)
            continue
        if look.observed.gaps and look.observed.gap_for(key, known.provider):
            present.add(known.provider)  # not a successful listing: the gap guard has it
            continue
        wanted = look.desired.instances.get(key)
        # What is scaled to zero or about to go was not running, or need not be recreated.
        if wanted is not None and wanted.replicas and key in look.recorded.resources:
            total[known.provider] += 1
    return {
        provider: Blocked(
            "mass-recreate",
            f"provider {provider} answered but shows none of {count} recorded instances",
            "check that it is the right engine, then allow it with --allow-recreate",
        )
        for provider, count in sorted(total.items())
        if count >= MIN_MASS and provider not in present
    }
