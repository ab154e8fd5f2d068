"""Networks that mix the levels of a backbone, finest first in and out."""
