"""The audit log: who did what, when, and what became of it.

    policy (which level) ─> Record of one request ─> events by stage ─> backends (a file with rotation, a webhook)

A server without a policy has none of this: requests then know no `Record`.

Upstream: apiserver/pkg/audit, apiserver/pkg/endpoints/filters/audit.go, apiserver/plugin/pkg/audit.
"""
