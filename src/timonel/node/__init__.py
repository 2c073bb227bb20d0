"""The node agent, the kubelet's job over CRI: `shell` puts it together, `pods` and `podrunner` run one pod each.

What decides is pure: `podworker`, `podactions`, `podstatus`, `admission`. The page is docs/design/node.md.
"""
