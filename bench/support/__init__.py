"""What the benchmarks share: a stack of their own, statistics, and how results are shown."""
