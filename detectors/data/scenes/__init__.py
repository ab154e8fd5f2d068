"""Generated scenes: nothing to download, exact boxes, and every property a knob."""

from detectors.data.scenes.layout import Layout
from detectors.data.scenes.look import Look
from detectors.data.scenes.source import Scenes

__all__ = ["Layout", "Look", "Scenes"]
