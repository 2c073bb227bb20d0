"""The revisioned key-value store below the API server: the contract (`base`), memory, SQLite. It knows bytes only."""
