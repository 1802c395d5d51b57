"""Who has written a field, by the name of its field manager."""

from __future__ import annotations

# Who we are in ``metadata.managedFields``.
FIELD_MANAGER = "ctrlplane-gitops"
# Whose changes are a person's: they are drift, and put right. What another controller has set is
# its business, and a person's to sort out.
_PEOPLE = ("kubectl", "before-first-apply", FIELD_MANAGER)


def is_of_person(manager: str) -> bool:
    """Whether somebody has done it by hand, and no controller that would do it again.

    >>> is_of_person("kubectl-set"), is_of_person("kube-controller-manager")
    (True, False)
    """
    return manager.startswith(_PEOPLE)


def manager_of(message: str) -> str:
    """Who a conflict of server-side apply is with.

    >>> manager_of('conflict with "kubectl-edit" using apps/v1')
    'kubectl-edit'
    """
    return message.partition('"')[2].partition('"')[0]
