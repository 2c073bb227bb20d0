"""The three kinds of patch, as pure functions from a document and a patch to a document."""
