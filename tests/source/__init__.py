"""Tests of ctrlplane_gitops.source."""
