"""Studies, reports and the benchmark, on top of the package."""
