"""Geometry, suppression, selection and pooling: plain functions without learned state."""
