"""Where everything is put together; the only package that knows all the others.

`config` (what a cluster is, on disk), `pki` (keys and certificates), `server` and `agent` (the two composition roots:
read them top to bottom to see what starts and stops in which order), `box` (a node's namespaces), `nodes` (keeps the
boxes of this machine running), `processes` (background processes and their pid files), `commands/` (the command line).
"""
