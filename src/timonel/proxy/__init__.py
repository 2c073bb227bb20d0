"""Service routing on one node: Services and EndpointSlices in, nftables maps out (kube-proxy's job).

Read in this order: `model` (what routes where; pure), `ruleset` (the chains and empty maps as nftables text; pure),
`elements` (what is in the maps; pure), `conntrack` (UDP flows to forget), `health` (health-check node ports), `shell`
(watches and keeps all in step). What goes to the kernel goes through `timonel.netfilter`. The picture is in
docs/design/network.md.
"""
