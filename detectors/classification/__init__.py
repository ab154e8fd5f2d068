"""Image classification, for pre-training a backbone."""
