"""Pictures of detections, training curves and the priors assigned to each object."""
