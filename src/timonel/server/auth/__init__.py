"""Who asks, and may they? Authentication (certificates, tokens), authorization (RBAC, nodes) and the default policy.

    Credentials ──authn──> User ──union(masters, node, rbac)──> Decision

Everything decides from memory: indexes follow the watch cache, so a request never waits for the store here.
"""
