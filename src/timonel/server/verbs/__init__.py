"""The verbs on stored objects, a file each: what happens between a decoded request and the registry."""
