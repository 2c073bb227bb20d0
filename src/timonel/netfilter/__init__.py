"""The kernel's packet filter: rules as text through nft, elements of maps and sets through netlink. No Kubernetes.

Read in this order: `elements` (what maps hold, and what changes; pure), `messages` (that as netlink messages; pure but
for `send`), `watch` (whether somebody removes a table), `kernel` (hands both to the kernel).
"""
