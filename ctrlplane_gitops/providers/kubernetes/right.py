"""What whoever runs this provider must be allowed to do, as rules of a ClusterRole: API groups,
resources, verbs. Namespaces may be made by somebody else; then ``create`` and ``delete`` of those
can be left out."""

from __future__ import annotations

_LOOK = ("get", "list")
_WRITE = ("create", "patch", "delete")

RIGHTS: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (("",), ("namespaces",), (*_LOOK, "create", "patch", "delete")),
    (("",), ("serviceaccounts",), ("get", "create", "patch")),
    (("",), ("services", "configmaps", "secrets"), (*_LOOK, *_WRITE)),
    (("",), ("persistentvolumeclaims",), (*_LOOK, *_WRITE)),
    (("",), ("pods",), (*_LOOK, "patch", "delete")),
    (("",), ("pods/resize",), ("patch",)),
    (("",), ("pods/log",), ("get",)),
    (("",), ("pods/exec",), ("get", "create")),
    (("apps",), ("deployments",), (*_LOOK, *_WRITE, "update")),
    (("apps",), ("replicasets",), ("list", "patch")),
    (("policy",), ("poddisruptionbudgets",), (*_LOOK, *_WRITE)),
    (("metrics.k8s.io",), ("pods",), ("list",)),
)
