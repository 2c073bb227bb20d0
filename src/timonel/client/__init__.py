"""The cluster as its clients see it: transports, resources by name, informers, leases, Events, kubeconfig.

`transport` is the interface; `https` carries it to any cluster, `server.local` within a process, `fake` in tests.
"""
