"""Custom resources: served while their definition says so, in every version that it names.

`definition` reads a CustomResourceDefinition, `kinds` makes of each version what the rest of the server knows types by,
`conversion` turns the versions into each other, `serving` keeps the registry as the definitions say, `control` is what
upstream's controllers of definitions do, `publish` describes it all in OpenAPI.
"""
