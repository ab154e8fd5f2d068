"""Heads: from feature levels to losses and candidates.

A head is a module with `forward(features, frames, targets=None) -> output`,
`loss(output, targets) -> {name: scalar}` and `detect(output) -> Candidates`. `targets` in `forward`
serve heads that sample between their stages; the others do not look at them.
"""
