"""Service routing on one node: Services and EndpointSlices in, nftables maps out (kube-proxy's job).

Read in this order: `model` (what routes where; pure), `ruleset` (that as nftables text; pure), `apply` (hands text to
nft), `shell` (watches and keeps the two in step). The picture is in docs/design/network.md.
"""
