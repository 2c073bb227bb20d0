"""The API server: `http` cuts requests, `dispatch` takes them through the chain, `verbs` carry them out.

`compose` puts a whole server together, `request` has the contracts between the parts. The page is
docs/design/server.md.
"""
