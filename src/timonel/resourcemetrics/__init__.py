"""metrics.k8s.io: what nodes and pods use, for `kubectl top` and the autoscaler.

usage (pure) <- collector (asks the nodes' agents when somebody asks) <- answers (the API, as an aggregated server).
A metrics-server that a user installs takes its place.
"""
