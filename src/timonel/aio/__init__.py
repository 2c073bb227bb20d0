"""The asyncio kit: clocks, lifetimes, work queues, broadcasts, worker threads. It knows nothing of Kubernetes.

The only package that may read a clock, sleep or create a task without a group of its caller.
"""
