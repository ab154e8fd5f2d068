"""What is compared with what: studies, reports and the benchmark, on top of the package."""
