"""Label noise corrupts as many labels as asked, and nothing else."""

import numpy as np
import pytest

from detectors.data.sources.label_noise import LabelNoise
from detectors.data.sources.scenes import Layout, Look, Scenes
from detectors.structures import Annotations


def scenes(count: int, **knobs) -> Scenes:
    return Scenes(Layout(**knobs), Look(), count)


def spoilt(source: Scenes, **shares) -> Annotations:
    return LabelNoise(lambda: source, **shares).annotations


def extents(annotations: Annotations) -> np.ndarray:
    return annotations.boxes[:, 2:] - annotations.boxes[:, :2]


def test_no_noise_changes_nothing():
    source = scenes(50)
    for ours, theirs in zip(spoilt(source), source.annotations, strict=True):
        assert np.array_equal(ours, theirs)


def test_rate_of_wrong_classes():
    source = scenes(500)
    labels = spoilt(source, wrong_class=0.3).labels
    assert abs(np.mean(labels != source.annotations.labels) - 0.3) < 0.03
    assert set(labels) == set(range(8))


def test_a_greater_share_keeps_the_mistakes_of_a_smaller():
    source = scenes(100)
    few = spoilt(source, wrong_class=0.1).labels
    many = spoilt(source, wrong_class=0.4).labels
    wrong = few != source.annotations.labels
    assert np.array_equal(few[wrong], many[wrong])


def test_rate_of_missing_objects_while_images_stay():
    source = scenes(500)
    annotations = spoilt(source, missing=0.25)
    assert abs(len(annotations.labels) / len(source.annotations.labels) - 0.75) < 0.03
    assert len(annotations.offsets) == 501
    assert annotations.offsets[-1] == len(annotations.boxes)


def test_remaining_objects_stay_with_their_image():
    source = scenes(50)
    truth, annotations = source.annotations, spoilt(source, missing=0.5)
    for index in range(50):
        kept = annotations.boxes[annotations.offsets[index] : annotations.offsets[index + 1]]
        every = truth.boxes[truth.offsets[index] : truth.offsets[index + 1]]
        assert set(map(bytes, kept)) <= set(map(bytes, every))


def test_jitter_is_bounded_and_stays_in_the_image():
    source = scenes(300, truncation=0.5)
    annotations = spoilt(source, jitter=0.2)
    moved = np.abs(annotations.boxes - source.annotations.boxes)
    allowed = 0.2 * np.tile(extents(source.annotations), 2)
    assert (moved <= allowed + 1e-9).all()
    assert 0.4 < (moved / allowed).mean() < 0.55  # a half, less what the border stops
    assert annotations.boxes.min() >= 0
    assert annotations.boxes.max() <= 320
    assert (extents(annotations) > 0).all()


def test_pictures_are_those_of_the_source():
    source = scenes(3)
    noisy = LabelNoise(lambda: source, wrong_class=1.0)
    assert len(noisy) == 3
    assert np.array_equal(noisy.image(1), source.image(1))


def test_a_single_class_cannot_be_confused():
    with pytest.raises(ValueError, match="two classes"):
        spoilt(scenes(3, num_classes=1), wrong_class=0.1)


@pytest.mark.parametrize(
    ("word", "share"), [("wrong_class", 1.2), ("missing", -0.1), ("missing", 1.0), ("jitter", 0.5)]
)
def test_impossible_shares_are_refused(word, share):
    with pytest.raises(ValueError, match=word):
        spoilt(scenes(3), **{word: share})
