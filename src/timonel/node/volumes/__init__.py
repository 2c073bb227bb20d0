"""Volumes: one module per source. Each makes a directory (or names one) on the node that containers mount.

`manager` owns a pod's volumes: sets them up before containers start, refreshes those that follow API objects, and takes
them down when the pod is gone.
"""
