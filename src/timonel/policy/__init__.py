"""NetworkPolicies on one node: policies, pods and namespaces in, nftables chains and sets out.

Read in this order: `model` (what a policy allows whom; pure), `rules` (that as chains and elements; pure), `shell`
(watches and keeps the kernel in step). The picture is in docs/design/network.md.
"""
