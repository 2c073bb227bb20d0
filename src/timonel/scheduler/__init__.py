"""The scheduler: chooses a node for each pod that has none, and binds it.

    queue.py      which pod is next; what waits, backs off, or waits for a change in the cluster
    podinfo.py    what a pod asks for, worked out once
    nodes.py      all nodes as NumPy columns
    framework.py  the extension points and what plugins answer
    plugins/      one file per plugin, under upstream's names
    profile.py    which plugins, in which order and with which weight
    cycle.py      one decision: filter, score, choose, or the reasons why not (pure)
    shell.py      informers in, bindings, conditions and Events out

Only this package imports NumPy, and only when a scheduler is made. Upstream: pkg/scheduler.
"""
