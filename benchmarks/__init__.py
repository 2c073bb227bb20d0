"""The figures of docs/performance.md, measured on this machine: `scripts/bench`."""
