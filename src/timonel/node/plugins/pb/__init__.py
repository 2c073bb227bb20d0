"""Generated from the .proto files beside this one; see their heads."""
