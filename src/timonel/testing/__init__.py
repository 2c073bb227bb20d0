"""Clusters inside a test: the package is on the map, the pytest plugin is not written yet."""
