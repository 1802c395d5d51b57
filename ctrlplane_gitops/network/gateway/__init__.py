"""Routes of a Gateway in a Kubernetes cluster."""
