"""Says where runs happen: here, on SLURM or on Ray; each module makes one engine an `Executor`."""
