"""Kinds of the Kubernetes API, and where their objects are."""

from __future__ import annotations

from collections.abc import Mapping

from ctrlplane_gitops.value import struct


@struct
class ResourceType:
    """``group`` is "" for the core's own kinds."""

    group: str
    version: str
    kind: str
    plural: str
    is_namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """``namespace`` None: of all namespaces.

        >>> DEPLOYMENT.path("prod", "web", "scale")
        '/apis/apps/v1/namespaces/prod/deployments/web/scale'
        >>> POD.path(), NAMESPACE.path(None, "prod")
        ('/api/v1/pods', '/api/v1/namespaces/prod')
        """
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        where = f"/namespaces/{namespace}" if namespace and self.is_namespaced else ""
        parts = [root + where, self.plural, name, subresource]
        return "/".join(part for part in parts if part)


NAMESPACE = ResourceType("", "v1", "Namespace", "namespaces", is_namespaced=False)
SERVICE = ResourceType("", "v1", "Service", "services")
SECRET = ResourceType("", "v1", "Secret", "secrets")
CONFIG_MAP = ResourceType("", "v1", "ConfigMap", "configmaps")
POD = ResourceType("", "v1", "Pod", "pods")
SERVICE_ACCOUNT = ResourceType("", "v1", "ServiceAccount", "serviceaccounts")
CLAIM = ResourceType("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
DEPLOYMENT = ResourceType("apps", "v1", "Deployment", "deployments")
RESOURCE_QUOTA = ResourceType("", "v1", "ResourceQuota", "resourcequotas")
ENDPOINT_SLICE = ResourceType("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
REPLICA_SET = ResourceType("apps", "v1", "ReplicaSet", "replicasets")
DISRUPTION_BUDGET = ResourceType("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
POD_METRICS = ResourceType("metrics.k8s.io", "v1beta1", "PodMetrics", "pods")
AUTOSCALER = ResourceType(
    "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"
)
GATEWAY = ResourceType("gateway.networking.k8s.io", "v1", "Gateway", "gateways")
REFERENCE_GRANT = ResourceType(
    "gateway.networking.k8s.io", "v1beta1", "ReferenceGrant", "referencegrants"
)
HTTP_ROUTE = ResourceType("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")


def label_selector(labels: Mapping[str, str]) -> str:
    """The selector of objects that carry all of these. "" as a value: the label, whatever it says;
    values with commas between them, of which none can have one itself: one of these.

    >>> label_selector({"a": "b", "c": "", "d": "e,f"})
    'a=b,c,d in (e,f)'
    """
    return ",".join(_requirement(name, value) for name, value in labels.items())


def _requirement(name: str, value: str) -> str:
    if "," in value:
        return f"{name} in ({value})"
    return f"{name}={value}" if value else name
