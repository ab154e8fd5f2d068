"""What is compared: loss terms over `Matched` priors, each a weighted scalar.

A term computes one number per prior [B, N] with every shape static, masks it, sums it over each
image, divides by the image's normaliser and adds the images up.
"""
