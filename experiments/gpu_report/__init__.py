"""The report on one GPU: tests, speed, synchronisations, a profile, the loader and a training."""
