"""Speed, measured side by side in one run and as a ratio; `make bench` (or python -m benchmarks)."""
