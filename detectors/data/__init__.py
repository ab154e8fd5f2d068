"""Turns files or generated scenes into batches."""

import os

# albumentations asks the network for a newer version when it is imported; it must not.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
