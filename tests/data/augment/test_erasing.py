"""Occlusion hides the right areas as often as asked, and drops the objects that it hides."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.data.augment.erasing import Cutout, GridMask, HideAndSeek, RandomErasing, hidden
from detectors.random_streams import stream
from detectors.structures import Sample

HEIGHT, WIDTH = 60, 90
NAMES = ("cutout", "random_erasing", "hide_and_seek", "gridmask")


def sample(boxes=((10, 10, 20, 30), (40, 5, 80, 50))) -> Sample:
    """Grey pixels that no fill has; a picture between two strips of canvas."""
    image = np.full((HEIGHT, WIDTH + 10, 3), 7, np.uint8)
    return Sample(
        image=image,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.arange(len(boxes)),
        ignore=np.zeros(len(boxes), bool),
        id=0,
        to_original=np.array([1, 1, 0, 0], np.float32),
        frame=np.array([5, 0, WIDTH + 5, HEIGHT], np.float32),
    )


def holes(transform, seed: int) -> np.ndarray:
    """[H, W] what is hidden, nothing of it outside of the picture."""
    found = (transform(sample(), np.random.default_rng(seed)).image != 7).any(axis=2)
    assert not found[:, :5].any()
    assert not found[:, -5:].any()
    return found[:, 5:-5]


def test_cutout_hides_a_square_that_the_border_may_cut() -> None:
    whole = 0
    for seed in range(200):
        hole = holes(Cutout(side=0.5), seed)
        rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
        assert hole.sum() == len(rows) * len(columns)
        assert max(len(rows), len(columns)) <= 31
        whole += abs(hole.sum() - 900) <= 60
    assert whole == pytest.approx(200 * (1 / 2) * (2 / 3), abs=25)  # the centre well inside


def test_random_erasing_hides_a_rectangle_of_the_area_asked_for() -> None:
    shares, happened = [], 0
    for seed in range(200):
        hole = holes(RandomErasing(), seed)
        happened += hole.any()
        if hole.any():
            height, width = hole.any(axis=1).sum(), hole.any(axis=0).sum()
            assert 0.25 < height / width < 4
            shares.append(height * width / hole.size)
    assert happened == pytest.approx(100, abs=25)
    assert 0.01 < min(shares) < 0.05
    assert max(shares) < 0.42


def test_hide_and_seek_hides_half_of_the_patches() -> None:
    transform = HideAndSeek(sides=[0.1, 0.25], probability=1.0)
    shares = []
    for seed in range(100):
        hole = holes(transform, seed)
        cell = next(c for c in (15, 6) if (hole == coarse(hole, c)).all())
        assert cell in (6, 15)
        shares.append(hole.mean())
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)


def coarse(hole: np.ndarray, cell: int) -> np.ndarray:
    return hole[::cell, ::cell].repeat(cell, 0).repeat(cell, 1)


def test_gridmask_hides_squares_of_the_stated_share() -> None:
    transform = GridMask(period=[0.25, 0.25], kept=0.6, probability=1.0)
    hole = holes(transform, 3)
    assert hole.mean() == pytest.approx(0.4**2, abs=0.01)
    np.testing.assert_array_equal(hole[15:], hole[:-15])
    np.testing.assert_array_equal(hole[:, 15:], hole[:, :-15])
    assert hole[:15].any(axis=1).sum() == hole[:, :15].any(axis=0).sum() == 6


def test_hidden_objects_are_dropped_and_the_others_keep_their_boxes() -> None:
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[:, :14] = True  # up to column 19 of the canvas: 9 of 10 columns of the first object
    kept = hidden(sample(), hole, np.zeros(3), visible=0.05)
    np.testing.assert_array_equal(kept.boxes, sample().boxes)
    assert hidden(sample(), hole, np.zeros(3), visible=0.2).labels.tolist() == [1]
    assert (sample().image == 7).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_trick_is_one_node_more_and_changes_pictures(name: str) -> None:
    plain, on = (OmegaConf.to_container(compose([f"trick={t}"])) for t in ("[]", f"[{name}]"))
    assert on["augment"].pop(name)
    assert on == plain
    transform = instantiate(compose([f"trick=[{name}]"]), f"augment.{name}")
    changed = [
        (transform(sample(), stream(0, 0, index, name=name)).image != 7).any()
        for index in range(20)
    ]
    assert sum(changed) > 5
    assert transform(sample(()), stream(0, 0, 0, name=name)).boxes.shape == (0, 4)


@pytest.mark.parametrize("name", ["photometric", "blur", "expand", "iou_crop"])
def test_other_tricks_on_pictures_change_them(name: str) -> None:
    nodes = {t: compose([f"trick={t}", "augment=none"]) for t in ("[]", f"[{name}]")}
    assert nodes["[]"].augment == {}
    (node,) = nodes[f"[{name}]"].augment
    transform = instantiate(nodes[f"[{name}]"], f"augment.{node}")
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    given = sample()._replace(image=noise, frame=np.array([0, 0, WIDTH, HEIGHT], np.float32))
    results = [transform(given, stream(0, 0, k, name=node)).image for k in range(20)]
    changed = [r.shape != noise.shape or (r != noise).any() for r in results]
    assert sum(changed) > 2
    assert [r.sum() for r in results] == [
        transform(given, stream(0, 0, k, name=node)).image.sum() for k in range(20)
    ]


@pytest.mark.parametrize("make", [lambda: Cutout(side=0), lambda: RandomErasing(area=[0, 1]),
                                  lambda: HideAndSeek(sides=[]), lambda: GridMask(kept=1.0),
                                  lambda: Cutout(visible=0.0)])  # fmt: skip
def test_numbers_out_of_range_are_refused(make) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()
