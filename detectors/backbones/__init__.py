"""Networks that turn images into a list of feature levels, finest first."""
