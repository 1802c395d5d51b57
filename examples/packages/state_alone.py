"""state alone: addresses, the same text everywhere."""

from ctrlplane_gitops.state.key import instance_key, parse_address

key = parse_address("instance/acme/web")
print(key, key.tenant, key.name)
assert key == instance_key("acme", "web")
