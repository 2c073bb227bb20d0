"""The commands that start, stop and look after clusters: one file each, `complete → validate → run`."""
