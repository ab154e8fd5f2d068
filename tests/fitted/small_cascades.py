"""A cascade small enough to follow by loops, and its file."""

import numpy as np

# Two stages; the first has a stump and a tree of two nodes, the second a stump on a tilted feature.
XML = """<?xml version="1.0"?>
<opencv_storage>
<cascade type_id="opencv-cascade-classifier"><stageType>BOOST</stageType>
  <featureType>HAAR</featureType><height>6</height><width>7</width>
  <stageParams><maxWeakCount>2</maxWeakCount></stageParams>
  <featureParams><maxCatCount>0</maxCatCount></featureParams>
  <stageNum>2</stageNum>
  <stages>
    <_><maxWeakCount>2</maxWeakCount><stageThreshold>0.25</stageThreshold>
      <weakClassifiers>
        <_><internalNodes>0 -1 0 0.002</internalNodes><leafValues>0.5 -0.5</leafValues></_>
        <_><internalNodes>1 0 1 0.01 -1 -2 2 -0.05</internalNodes>
          <leafValues>0.2 0.7 -0.1</leafValues></_>
      </weakClassifiers></_>
    <_><maxWeakCount>1</maxWeakCount><stageThreshold>-0.5</stageThreshold>
      <weakClassifiers>
        <_><internalNodes>0 -1 3 0.03</internalNodes><leafValues>1. -1.</leafValues></_>
      </weakClassifiers></_>
  </stages>
  <features>
    <_><rects><_>0 0 6 6 -1.</_><_>3 0 3 6 2.</_></rects><tilted>0</tilted></_>
    <_><rects><_>1 1 4 4 -1.</_><_>1 1 2 2 2.</_><_>3 3 2 2 2.</_></rects></_>
    <_><rects><_>0 2 7 3 -1.</_><_>0 3 7 1 3.</_></rects></_>
    <_><rects><_>3 0 2 3 -1.</_><_>3 0 1 3 2.</_></rects><tilted>1</tilted></_>
  </features>
</cascade>
</opencv_storage>
"""


def picture(height: int, width: int) -> np.ndarray:
    """[height, width] uint8 with shapes of several sizes."""
    generator = np.random.default_rng(3)
    coarse = generator.integers(0, 160, (height // 4 + 1, width // 4 + 1))
    fine = generator.integers(0, 96, (height, width))
    return (np.kron(coarse, np.ones((4, 4)))[:height, :width] + fine).astype(np.uint8)
