"""Kubernetes in Python. Where to go next: README.md (the map), ARCHITECTURE.md (why)."""
