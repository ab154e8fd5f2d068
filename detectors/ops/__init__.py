"""Geometry, suppression, selection and pooling: plain tensor functions, no learned state."""
