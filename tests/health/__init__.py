"""Tests of ctrlplane_gitops.health."""
