"""Subresources that are more than a part of an object: bindings, evictions, tokens, reviews, streams."""
