"""Pod security standards: `policy` (labels), `checks` (what a pod must not do), `plugin` (where they are asked)."""
