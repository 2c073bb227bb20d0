"""Function libraries, one module each with a `FUNCTIONS` tuple. `environment.LIBRARIES` says which are in reach."""
