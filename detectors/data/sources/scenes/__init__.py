"""Generated scenes: nothing to download, exact boxes, and a setting for every property."""

from detectors.data.sources.scenes.layout import Layout
from detectors.data.sources.scenes.look import Look
from detectors.data.sources.scenes.source import Scenes

__all__ = ["Layout", "Look", "Scenes"]
