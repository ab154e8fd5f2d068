"""Several data sets as one."""

from functools import partial

import numpy as np
import pytest

from detectors.data.sources.concat import Concat
from detectors.data.sources.scenes import Layout, Look, Scenes


def scenes(seed: int, count: int, num_classes: int = 3) -> partial:
    layout = Layout(
        side=32, num_classes=num_classes, objects=[0, 3], sizes=[0.2, 0.6], stretch=1.3,
        crowding=0.0, occlusion=0.3, truncation=0.1, imbalance=0.0,
    )  # fmt: skip
    look = Look(contrast=1.0, colour_cue=0.0, blur=0.0, brightness=1.0)
    return partial(Scenes, split="train", count=count, seed=seed, layout=layout, look=look)


def test_every_image_keeps_its_objects() -> None:
    readers = {"one": scenes(0, 4), "two": scenes(1, 1), "three": scenes(2, 3)}
    joined = Concat(readers)
    parts = [reader() for reader in readers.values()]
    places = [(part, k) for part in parts for k in range(len(part))]
    assert len(joined) == len(places) == 8
    assert joined.annotations.image_ids.tolist() == list(range(8))
    for index, (part, k) in enumerate(places):
        np.testing.assert_array_equal(joined.image(index), part.image(k))
        rows = slice(*joined.annotations.offsets[index : index + 2])
        theirs = slice(*part.annotations.offsets[k : k + 2])
        for name in ("boxes", "labels", "crowd", "difficult", "areas"):
            ours, expected = (getattr(x.annotations, name) for x in (joined, part))
            np.testing.assert_array_equal(ours[rows], expected[theirs])
        assert joined.annotations.sizes[index].tolist() == part.annotations.sizes[k].tolist()


def test_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="two has the classes"):
        Concat({"one": scenes(0, 2), "two": scenes(0, 2, num_classes=4)})
    with pytest.raises(ValueError, match="names no data set"):
        Concat({})
