"""The file of proposals: pictures are known by their content, and a killed run goes on."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detectors.data.proposals import Method, files
from detectors.data.proposals import making as module
from detectors.data.proposals.feeding import PictureProposals, with_proposals
from detectors.data.proposals.files import (
    ProposalFile,
    known_beside,
    packed,
    picture_keys,
    read_proposals,
    write_proposals,
)
from detectors.data.proposals.making import Making, ProposalStore, made, work_of
from detectors.data.sources.base import Unreadable
from detectors.structures import Annotations, Sample
from tests.data.proposals.test_recall import annotated

ABOUT = {"method": {"_target_": "mine"}, "count": 5, "seed": 0}


class Pictures:
    """Plain pictures, each of one grey level; ids begin at 7."""

    def __init__(self, *levels: int, broken: int | None = None) -> None:
        self.levels, self.broken = levels, broken
        truth = annotated(*([(0, 1.0, 1.0, 9.0, 9.0, False)] for _ in levels))
        self.annotations: Annotations = truth._replace(image_ids=7 + np.arange(len(levels))[::-1])

    def __len__(self) -> int:
        return len(self.levels)

    def image(self, index: int) -> np.ndarray:
        if self.levels[index] == self.broken:
            raise Unreadable(f"picture {index} is broken")
        return np.full((10, 20, 3), self.levels[index], np.uint8)


class Grey(Method):
    """As many boxes as the grey level; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        level = int(image[0, 0, 0])
        self.asked.append(level)
        places = np.arange(level)[:, None] + np.array([0, 0, 1, 1])
        return (places + rng.random()).astype(np.float32)


def propose(file: Path, *sources: Pictures, method: Method | None = None) -> ProposalFile:
    store = ProposalStore(file, ABOUT)
    work = work_of({str(k): source for k, source in enumerate(sources)}, store)
    for item in made(Making(work, method or Grey(), 5, 0), 0):
        store.add(item)
    return store.finish()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = {2**63 + 5: np.ones((2, 4)), 3: np.zeros((0, 4)), 9: np.full((1, 4), 2.0)}
    write_proposals(tmp_path / "new" / "p.npz", packed(found, ABOUT))
    read = read_proposals(tmp_path / "new" / "p.npz")
    assert read.about == ABOUT
    assert read.keys.tolist() == [3, 9, 2**63 + 5]
    assert [len(read.of(row)) for row in range(3)] == [0, 1, 2]
    assert read.boxes.dtype == np.float32


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not there: make it with `detectors propose file="):
        read_proposals(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", boxes=np.zeros(3))
    (tmp_path / "text.npz").write_text("boxes")
    for name in ("other.npz", "text.npz"):
        with pytest.raises(ValueError, match="is no file of `detectors propose`"):
            read_proposals(tmp_path / name)


def test_pictures_are_known_by_their_content_in_any_order(tmp_path: Path) -> None:
    file = propose(tmp_path / "p.npz", Pictures(1, 2, 3))
    again = PictureProposals(file, Pictures(3, 1), "p.npz")
    assert [len(again.boxes(number)) for number in (8, 7)] == [3, 1]
    assert again.most == 3


def test_what_is_drawn_for_a_picture_does_not_depend_on_the_others(tmp_path: Path) -> None:
    alone = propose(tmp_path / "a.npz", Pictures(2))
    beside = propose(tmp_path / "b.npz", Pictures(1, 4), Pictures(2))
    row = int(np.searchsorted(beside.keys, alone.keys[0]))
    assert beside.of(row).tolist() == alone.of(0).tolist()


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    propose(tmp_path / "p.npz", Pictures(1, 2))
    grey = Grey()
    whole = propose(tmp_path / "p.npz", Pictures(2, 4, 4), method=grey)
    assert grey.asked == [4]
    assert sorted(np.diff(whole.offsets).tolist()) == [1, 2, 4]


def test_a_run_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_EVERY", 0.0)

    class Killed(Grey):
        def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().__call__(image, rng)

    pictures = Pictures(1, 2, 3, 4)
    with pytest.raises(KeyboardInterrupt):
        propose(tmp_path / "p.npz", pictures, method=Killed())
    assert not (tmp_path / "p.npz").exists()
    grey = Grey()
    found = propose(tmp_path / "p.npz", pictures, method=grey)
    assert grey.asked == [3, 4]
    straight = propose(tmp_path / "q.npz", pictures)
    assert all((a == b).all() for a, b in zip(found[:3], straight[:3], strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.npz", "q.npz"]


def test_other_settings_are_not_mixed_in(tmp_path: Path) -> None:
    propose(tmp_path / "p.npz", Pictures(1))
    with pytest.raises(ValueError, match=r"count=5.*count=9.*: choose another file=FILE"):
        ProposalStore(tmp_path / "p.npz", {**ABOUT, "count": 9})


def test_a_picture_that_cannot_be_read_has_none(tmp_path: Path) -> None:
    file = propose(tmp_path / "p.npz", Pictures(1, 2, broken=2))
    assert sorted(np.diff(file.offsets).tolist()) == [0, 1]


def test_other_data_and_missing_pictures_are_refused(tmp_path: Path) -> None:
    file = propose(tmp_path / "p.npz", Pictures(1, 2))
    with pytest.raises(ValueError, match=r"p.npz is of other data: .* none of these 2 pictures"):
        PictureProposals(file, Pictures(5, 6), "p.npz")
    with pytest.raises(ValueError, match=r"lacks 1 of 3 pictures: picture 1; .*adds them"):
        PictureProposals(file, Pictures(1, 3, 2), "p.npz")


def test_a_file_of_a_picture_is_its_key(tmp_path: Path) -> None:
    class Files(Pictures):
        def path(self, index: int) -> str:
            return str(tmp_path / f"{index}.png")

    for index, level in enumerate((1, 2, 1)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((4, 4), level, np.uint8))
    keys = picture_keys(Files(1, 2, 1))
    assert keys[0] == keys[2] != keys[1]


def sample(to_original: list[float], frame: list[float]) -> Sample:
    nothing = np.zeros(0)
    return Sample(
        np.zeros((100, 200, 3), np.uint8),
        np.zeros((0, 4), np.float32),
        nothing.astype(np.int64),
        nothing.astype(bool),
        0,
        np.array(to_original, np.float32),
        np.array(frame, np.float32),
    )


def test_proposals_follow_the_picture_and_are_cut_to_its_frame() -> None:
    boxes = np.array([[10, 20, 30, 60], [90, 0, 100, 10], [0, 0, 4, 40]], np.float32)
    # Twice as large, mirrored in a picture of 100, then 50 to the left: x = 150 - 2 * original.
    given = sample([-0.5, 0.5, 75.0, 0.0], [0, 0, 148, 100])
    found = with_proposals(given, boxes).proposals
    assert found is not None
    # The second lies left of the frame; of the third, 142 to 150, the frame shows what is in it.
    assert found.tolist() == [[90, 40, 130, 100], [142, 0, 148, 80]]


def test_an_unknown_way_back_is_refused() -> None:
    with pytest.raises(ValueError, match="proposals of a file cannot follow"):
        with_proposals(sample([np.nan] * 4, [0, 0, 200, 100]), np.zeros((1, 4)))


class Grown(Pictures):
    """Pictures that are files, of which every reading is noted."""

    def __init__(self, folder: Path, *levels: int) -> None:
        super().__init__(*levels)
        self.folder = folder
        for index, level in enumerate(levels):
            cv2.imwrite(self.path(index), np.full((10, 20, 3), level, np.uint8))

    def path(self, index: int) -> str:
        return str(self.folder / f"{index}.png")


def test_files_that_did_not_change_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = Grown(tmp_path, 1, 2, 3)
    propose(tmp_path / "p.npz", pictures)
    stored = read_proposals(tmp_path / "p.npz")
    read, ordinary = [], files.picture_key

    def key(source: Any, row: int) -> int:
        read.append(row)
        return ordinary(source, row)

    monkeypatch.setattr(files, "picture_key", key)
    known = known_beside(tmp_path / "p.npz")
    found = PictureProposals(stored, pictures, "p.npz", known)
    assert read == []
    assert [len(found.boxes(7 + k)) for k in range(3)] == [3, 2, 1]
    os.utime(pictures.path(1))  # a copy of the same content
    PictureProposals(stored, pictures, "p.npz", known)
    assert read == [1]
    cv2.imwrite(pictures.path(0), np.full((10, 20, 3), 77, np.uint8))
    with pytest.raises(ValueError, match=r"lacks 1 of 3 pictures: .*0\.png"):
        PictureProposals(stored, pictures, "p.npz", known)


def test_files_of_one_size_and_date_that_change_places_are_told_apart(tmp_path: Path) -> None:
    pictures = Grown(tmp_path, 1, 2)
    for row in range(2):
        os.utime(pictures.path(row), (1e9, 1e9))
    known: dict[int, int] = {}
    before = picture_keys(pictures, known)
    assert len(known) == 2
    os.rename(pictures.path(0), tmp_path / "between")
    os.rename(pictures.path(1), pictures.path(0))
    os.rename(tmp_path / "between", pictures.path(1))
    assert picture_keys(pictures, known).tolist() == before[::-1].tolist()


def test_what_could_not_be_read_is_not_known_by_its_stamp(tmp_path: Path) -> None:
    pictures = Grown(tmp_path, 1)
    os.remove(pictures.path(0))
    os.mkdir(pictures.path(0))  # has a stamp, but no content
    known: dict[int, int] = {}
    picture_keys(pictures, known)
    assert known == {}


def test_what_is_known_of_files_is_no_part_of_the_proposals(tmp_path: Path) -> None:
    """Or runs would have other keys where only the date of a picture has changed."""
    pictures, contents = Grown(tmp_path, 1, 2), []
    for name in ("a.npz", "b.npz"):
        propose(tmp_path / name, pictures)
        contents.append((tmp_path / name).read_bytes())
        os.utime(pictures.path(1))
    assert contents[0] == contents[1]
