"""Plugins of the node, spoken to over gRPC on UNIX sockets: how they register (`registry`), storage (`csi`).

gRPC is imported when the first plugin shows itself, not before.
"""
