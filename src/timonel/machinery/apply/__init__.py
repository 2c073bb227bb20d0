"""Server-side apply and managed fields: who owns what (`sets`, `managers`), values seen by type (`typed`).

`fields` is where to start: the order of events in an update and in an apply.
"""
