"""The algebra of the API: errors, names, quantities, selectors, codecs, patches, managed fields. Pure.

Knows no kind: schema data comes in as plain dicts.
"""
