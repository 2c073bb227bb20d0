"""Stands for election with the official client's lock on a ConfigMap, and says when it leads. For test_kubernetes."""

from __future__ import annotations

from kubernetes import config
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

config.load_kube_config()
settings = electionconfig.Config(
    ConfigMapLock("lock", "default", "me"),
    lease_duration=17,
    renew_deadline=15,
    retry_period=1,
    onstarted_leading=lambda: print("leading", flush=True),
    onstopped_leading=lambda: None,
)
leaderelection.LeaderElection(settings).run()
