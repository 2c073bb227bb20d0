"""What the API server alone achieves, row by row, each beside what uvloop, httptools and TLS do without a server.

`python -m benchmarks.apiserver` (or `scripts/bench apiserver`) prints one table. See `row` for what a row is.
"""
