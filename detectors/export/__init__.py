"""Detectors as one file for other programs: ONNX, and the exported program of torch."""
