"""secrets alone: a value that is resolved, compared and never shown."""

from ctrlplane_gitops.secrets.registry import build_backends, resolve_all
from ctrlplane_gitops.state.desired import SecretRef
from ctrlplane_gitops.state.key import Kind, ResourceKey

url = SecretRef(ResourceKey(Kind.SECRET, "acme", "database-url"), "env", "ACME_DATABASE_URL")
missing = SecretRef(ResourceKey(Kind.SECRET, "acme", "api-key"), "env", "ACME_API_KEY")

backends = build_backends({"ACME_DATABASE_URL": "postgres://acme:hunter2@db/acme"}, None)
values, failures = resolve_all([url, missing], backends)
print(url.key, values[url.key], values[url.key].digest("prod"))
print(failures[missing.key].message)
assert "hunter2" not in repr(values)
