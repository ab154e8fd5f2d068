"""Pictures for people: detections, curves, and which priors each object gets."""
