"""Which object each prior is to predict.

Every assigner is a module `forward(predictions, boxes, targets) -> Assignment`, run without
gradient: `predictions` with their priors, `boxes` [B, N, 4] their decoded form, `targets` padded.
Objects marked `ignore` are never assigned. `[B, M, N]` is the only large intermediate.
"""
