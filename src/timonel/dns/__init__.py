"""Cluster DNS: names of Services and Pods below the cluster domain; everything else is forwarded.

Read in this order: `records` (what a name means; pure), `wire` (packets), `forward` (other people's names), `server`
(UDP and TCP), `shell` (watches and keeps the records in step).
Upstream: the Kubernetes DNS-Based Service Discovery specification, version 1.1.0.
"""
