"""A Kubernetes of the tests: a real control plane, and nodes and a gateway that are ours."""
