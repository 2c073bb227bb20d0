"""Service routing on one node: Services and EndpointSlices in, nftables maps out (kube-proxy's job).

Read in this order: `model` (what routes where; pure), `ruleset` (the chains and empty maps as nftables text; pure),
`elements` (what is in the maps, and what changes; pure), `nfnetlink` and `conntrack` (the kernel's formats), `apply`
(the kernel), `health` (health-check node ports), `shell` (watches and keeps all in step). The picture is in
docs/design/network.md.
"""
