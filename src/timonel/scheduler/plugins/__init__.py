"""Scheduling plugins, one per file, with upstream's names; none knows another.

Upstream: pkg/scheduler/framework/plugins."""
