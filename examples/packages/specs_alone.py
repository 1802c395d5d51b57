"""specs alone: what is wrong with a file, all of it at once, with line and column."""

from ctrlplane_gitops.specs.validate import parse

TEXT = b"""\
apiVersion: ctrlplane.dev/v1
kind: Instance
metadata: {tenant: acme, name: web}
spec:
  replica: 3
  resources: {cpu: lots}
"""

documents, diagnostics = parse({"tenants/acme.yaml": TEXT})
for item in diagnostics:
    print(item.render())
assert not documents and len(diagnostics) == 2
