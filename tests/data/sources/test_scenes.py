"""Scenes are functions of (seed, split, index) with exact boxes, and obey their settings."""

import multiprocessing
import pickle
import time

import cv2
import numpy as np
import pytest
from hydra.utils import instantiate

from detectors.config.compose import compose
from detectors.config.paths import CONF
from detectors.data.sources.base import Source
from detectors.data.sources.scenes import Layout, Look, Scenes, shapes
from detectors.data.sources.scenes.look import coverage
from detectors.random_streams import stream
from detectors.structures import Annotations

CROWDED = Layout(objects=(12, 20), sizes=(0.07, 0.22), crowding=0.8, occlusion=0.6)


def scenes(count: int = 40, seed: int = 0, split: str = "train", **knobs) -> Scenes:
    return Scenes(Layout(**knobs), Look(), count, seed, split)


def picture(position: int) -> np.ndarray:
    return scenes().image(position)


def same(a: Annotations, b: Annotations) -> bool:
    return all(np.array_equal(left, right) for left, right in zip(a, b, strict=True))


def read(preset: str, *overrides: str) -> dict[str, Source]:
    """Few scenes of the training and validation splits of a file in conf/data."""
    counts = ["data.train.read.count=20", "data.val.count=20"]
    config = compose([*counts, *overrides], f"data/{preset}")
    return {split: instantiate(config.data[split], _convert_="all")() for split in ("train", "val")}


def silhouettes(source: Scenes, index: int) -> np.ndarray:
    """[n, side, side] bool masks, front first, of what covers at least a 16th of a pixel."""
    outlines = source._objects.outlines(index)
    side = source.annotations.sizes[index, 0]
    return np.stack([coverage(outline, side, side) >= 16 for outline in outlines])


def tight_box(mask: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(mask)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


class TestPurity:
    def test_a_longer_data_set_begins_with_the_shorter(self):
        short, long = scenes(10), scenes(300)
        end = short.annotations.offsets[-1]
        assert np.array_equal(short.annotations.boxes, long.annotations.boxes[:end])
        assert np.array_equal(short.image(7), long.image(7))

    def test_order_of_access_does_not_matter(self):
        source = scenes()
        first = source.image(3)
        source.image(5)
        assert np.array_equal(first, source.image(3))

    def test_another_process_makes_the_same_pictures(self):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            elsewhere = pool.map(picture, [0, 31])
        assert np.array_equal(elsewhere, [picture(0), picture(31)])

    def test_pickled_scenes_are_the_same(self):
        source = scenes()
        copy = pickle.loads(pickle.dumps(source))
        assert same(copy.annotations, source.annotations)
        assert np.array_equal(copy.image(2), source.image(2))

    @pytest.mark.parametrize("other", [{"split": "val"}, {"split": "test"}, {"seed": 1}])
    def test_splits_and_seeds_share_no_object(self, other):
        ours, theirs = scenes(500).annotations.boxes, scenes(500, **other).annotations.boxes
        assert not set(map(bytes, ours)) & set(map(bytes, theirs))

    def test_look_leaves_the_layout_alone(self):
        blurred = Scenes(Layout(), Look(blur=2.0, brightness=0.5, contrast=0.3), 40)
        assert same(blurred.annotations, scenes().annotations)

    def test_imbalance_leaves_the_first_object_where_it_was_but_for_its_class(self):
        first = scenes(sizes=(0.2, 0.2), stretch=1.0, objects=(1, 1))._objects
        other = scenes(sizes=(0.2, 0.2), stretch=1.0, objects=(1, 1), imbalance=2.0)._objects
        same_class = first.labels == other.labels
        assert np.array_equal(first.transforms[same_class], other.transforms[same_class])
        assert 0.1 < same_class.mean() < 0.9


class TestExactBoxes:
    @pytest.mark.parametrize("truncation", [0.0, 0.5])
    def test_box_is_tight_round_the_silhouette(self, truncation):
        """Drawn twice as large, so that rounding to pixels costs at most about half of one."""
        knobs = {"num_classes": 12, "sizes": (0.1, 0.9), "objects": (1, 1)}
        source = scenes(150, truncation=truncation, **knobs)
        outlines = [source._objects.outlines(index)[0] for index in range(150)]
        masks = [coverage(2 * outline, 640, 640) > 0 for outline in outlines]
        boxes = np.array([tight_box(mask) for mask in masks]) / 2
        assert np.abs(boxes - source.annotations.boxes).max() < 0.6
        assert len(set(source.annotations.labels)) == 12

    def test_annotations_are_the_boxes_of_what_is_painted(self):
        source = scenes(60, num_classes=12, objects=(1, 1), truncation=0.5)
        nothing = np.zeros((0, shapes.VERTICES, 2))
        for index, box in enumerate(source.annotations.boxes):
            rng = stream(0, 0, index, name="pixels of a scene")  # of the training split
            empty = Look().paint(nothing, np.zeros(0, dtype=int), 12, 320, rng)
            changed = np.abs(source.image(index).astype(int) - empty).max(axis=-1) > 8
            assert np.abs(tight_box(changed) - box).max() < 1.5

    def test_boxes_lie_in_the_image(self):
        boxes = scenes(500, truncation=0.5, sizes=(0.1, 0.9)).annotations.boxes
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert boxes.min() >= 0
        assert boxes.max() <= 320

    def test_a_clipped_diamond_by_hand(self):
        """|x| + |y - 50| <= 20 inside x >= 0: from (0, 30) by (20, 50) to (0, 70)."""
        diamond = np.array([[[-20, 50], [0, 30], [20, 50], [0, 70.0]]])
        assert np.allclose(shapes.boxes_within(diamond, 100), [[0, 30, 20, 70]])
        assert np.allclose(shapes.boxes_within(diamond - [10, 0], 100), [[0, 40, 10, 60]])


class TestKnobs:
    def test_object_count_is_uniform_in_its_range(self):
        source = scenes(2000, objects=(0, 4), sizes=(0.02, 0.05))
        counts = np.bincount(np.diff(source.annotations.offsets), minlength=5)
        assert np.abs(counts / 2000 - 0.2).max() < 0.04

    def test_sizes_are_log_uniform(self):
        annotations = scenes(1000, sizes=(0.05, 0.2), objects=(2, 2), truncation=0.0).annotations
        logs = np.log(np.sqrt(annotations.areas) / 320)
        assert np.exp(logs.min()) >= 0.05 - 1e-9
        assert np.exp(logs.max()) <= 0.2 + 1e-9
        shares = np.histogram(logs, bins=4)[0] / len(logs)
        assert np.abs(shares - 0.25).max() < 0.05

    def test_zipf_imbalance(self):
        source = scenes(2000, num_classes=4, imbalance=1.0, sizes=(0.02, 0.05))
        counts = np.bincount(source.annotations.labels, minlength=4)
        weights = 1 / np.arange(1, 5)
        assert np.abs(counts / counts.sum() - weights / weights.sum()).max() < 0.02

    @pytest.mark.parametrize("occlusion", [0.0, 0.3, 0.7])
    def test_objects_are_hidden_up_to_the_limit(self, occlusion):
        knobs = {"sizes": (0.1, 0.25), "crowding": 0.8, "objects": (10, 10)}
        source = scenes(40, occlusion=occlusion, **knobs)
        shares = []
        for index in range(40):
            masks = silhouettes(source, index)
            covered = np.cumsum(masks, axis=0) - masks > 0
            shares += list((masks & covered).sum(axis=(1, 2)) / masks.sum(axis=(1, 2)))
        assert occlusion - 0.1 < max(shares) < occlusion + 0.12  # 64 points estimate a share so far

    def test_crowding_brings_objects_together(self):
        def gap(crowding: float) -> float:
            source = scenes(300, objects=(2, 2), sizes=(0.08, 0.08), crowding=crowding)
            boxes = source.annotations.boxes.reshape(300, 2, 2, 2)
            return np.median(np.linalg.norm(np.diff(boxes.mean(axis=2), axis=1), axis=-1))

        assert gap(0.0) > gap(0.5) > gap(1.0)
        assert gap(1.0) < 1.2 * 0.08 * 320

    def test_truncation_cuts_only_where_wanted(self):
        def at_border(truncation: float) -> np.ndarray:
            boxes = scenes(300, truncation=truncation).annotations.boxes
            return ((boxes <= 0) | (boxes >= 320)).any(axis=1)

        assert not at_border(0.0).any()
        assert at_border(0.5).mean() > 0.2

    def test_brightness_and_blur(self):
        plain, dark, soft = (
            Scenes(Layout(), look, 8) for look in (Look(), Look(brightness=0.5), Look(blur=2.0))
        )
        for index in range(8):
            image = plain.image(index)
            assert np.abs(dark.image(index).mean() - image.mean() / 2) < 1
            sharpness = [cv2.Laplacian(i, cv2.CV_64F).var() for i in (soft.image(index), image)]
            assert sharpness[0] < 0.2 * sharpness[1]

    def test_contrast_fades_objects_into_the_ground(self):
        def spread(contrast: float) -> float:
            source = Scenes(Layout(), Look(contrast=contrast), 10)
            return np.mean([np.ptp(source.image(i).astype(int), axis=-1).max() for i in range(10)])

        assert spread(0.1) < 0.5 * spread(1.0)

    def test_colour_cue_ties_hue_to_class(self):
        colours = Look(colour_cue=1.0)._colours(
            np.arange(50) % 5, 5, np.zeros(3), np.random.default_rng(0)
        )
        hues = cv2.cvtColor(colours[None].astype(np.float32), cv2.COLOR_RGB2HSV)[0, :, 0]
        assert np.abs(hues - 72 * (np.arange(50) % 5)).max() < 1

    @pytest.mark.parametrize(
        "knobs",
        [
            {"num_classes": 99},
            {"objects": (3, 2)},
            {"sizes": (0.0, 0.1)},
            {"occlusion": 1.0},
            {"truncation": 0.7},
            {"imbalance": -1.0},
        ],
    )
    def test_what_cannot_be_drawn_is_refused(self, knobs):
        with pytest.raises(ValueError, match=next(iter(knobs))):
            Layout(**knobs)

    def test_unknown_split_is_refused(self):
        with pytest.raises(ValueError, match="split"):
            scenes(split="trian")


PRESETS = sorted(file.stem for file in (CONF / "data").glob("scenes*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
class TestPresets:
    def test_both_splits_are_read_and_shown(self, preset):
        splits = read(preset)
        assert splits["train"].annotations.classes == splits["val"].annotations.classes
        for source in splits.values():
            assert source.image(0).shape == (*source.annotations.sizes[0], 3)

    def test_one_word_changes_both_splits(self, preset):
        splits = read(preset, "scenes.layout.side=64", "scenes.layout.num_classes=3")
        for source in splits.values():
            assert source.annotations.sizes.max() == 64
            assert len(source.annotations.classes) == 3

    def test_label_noise_spoils_training_only(self, preset):
        clean, spoilt = read(preset), read(preset, "data.train.wrong_class=0.5")
        assert not same(clean["train"].annotations, spoilt["train"].annotations)
        assert same(clean["val"].annotations, spoilt["val"].annotations)


class TestSpeed:
    """Bounds are several times what is needed: they catch a mistake, not a busy machine."""

    def test_painting(self):
        """Beside the sorting of 100,000 numbers, which takes as much longer on a slower machine."""
        source, numbers = Scenes(CROWDED, Look(), 30), np.random.default_rng(0).random(100_000)
        source.image(0)
        painting, sorting = [], []
        for index in range(30):
            start = time.process_time()
            source.image(index)
            between = time.process_time()
            np.sort(numbers)
            painting.append(between - start)
            sorting.append(time.process_time() - between)
        assert np.median(painting) < 15 * np.median(sorting)

    def test_arranging(self):
        start = time.perf_counter()
        scenes(2000)
        assert time.perf_counter() - start < 2.0
