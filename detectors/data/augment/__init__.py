"""Augmentation: transforms of one sample, and mixes of several."""
