"""`detectors propose` writes a file that the same words find complete."""

from pathlib import Path

import numpy as np
import pytest

from detectors.commands.propose import make
from detectors.data.proposals.files import read_proposals
from detectors.data.proposals.making import Making, ProposalStore, work_of
from tests.data.proposals.test_files import ABOUT, Grey, Grown, Pictures

WORDS = ["data=scenes_easy", "data.train.read.count=3", "data.val.count=2", "data.num_workers=0"]


def rows(printed: str) -> list[list[str]]:
    """Cells of the tables' lines with numbers."""
    return [line.split("│") for line in printed.splitlines() if line.startswith("│")]


def test_a_file_and_a_table_for_each_split(detectors, tmp_path, capsys) -> None:
    detectors(tmp_path, "propose", *WORDS, "method=dense", "count=300")
    printed = capsys.readouterr().out
    titles = [line.split()[0] for line in printed.splitlines() if "objects that" in line]
    assert titles == ["train:", "val:"]
    file = read_proposals(tmp_path / "proposals" / "scenes_easy_dense.npz")
    assert len(file.keys) == 5
    assert len(file.boxes) == 5 * 300
    detectors(tmp_path, "propose", *WORDS, "method=dense", "count=300")
    assert rows(capsys.readouterr().out) == rows(printed)


def test_selective_search_covers_plain_shapes(detectors, tmp_path, capsys) -> None:
    pytest.importorskip("skimage")
    detectors(tmp_path, "propose", *WORDS, "splits=[val]", "file=mine.npz")
    assert float(rows(capsys.readouterr().out)[-1][3]) > 0.8  # recall of 2000 at IoU 0.5


def test_as_many_pictures_may_be_unreadable_as_in_a_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = Pictures(1, 2, 3, broken=2)
    for most in (0, 1):
        store = ProposalStore(tmp_path / f"{most}.npz", ABOUT)
        making = Making(work_of({"train": pictures}, store), Grey(), 5, 0)
        if most == 0:
            with pytest.raises(ValueError, match=r"1 pictures cannot be read, .* split 0 may be"):
                make(making, 0, store, [(pictures, most)])
        else:
            make(making, 0, store, [(pictures, most)])
            assert "1 pictures have no proposals: picture 1 is broken" in caplog.text
            assert len(store.finish().keys) == 3


def test_what_could_not_be_read_is_tried_again_and_refused_again(tmp_path: Path) -> None:
    """Each split for itself: an evaluation bears none, however many a training does."""
    train, val, file = Pictures(1, 2), Pictures(3, 4, broken=4), tmp_path / "p.npz"

    def propose() -> ProposalStore:
        store, grey = ProposalStore(file, ABOUT), Grey()
        making = Making(work_of({"train": train, "val": val}, store), grey, 5, 0)
        make(making, 0, store, [(train, 1), (val, 0)])
        return store

    for _ in range(2):
        with pytest.raises(ValueError, match="picture 1 is broken"):
            propose()
    val.broken = None
    found = propose().finish()
    assert sorted(np.diff(found.offsets).tolist()) == [1, 2, 3, 4]
    assert not len(found.lost)


def test_a_picture_that_came_without_boxes_for_an_error_is_made_later(tmp_path: Path) -> None:
    pictures, file = Grown(tmp_path, 1, 2), tmp_path / "p.npz"
    for broken, counts in ((2, [0, 1]), (None, [1, 2])):
        pictures.broken = broken
        store = ProposalStore(file, ABOUT)
        making = Making(work_of({"train": pictures}, store), Grey(), 5, 0)
        make(making, 0, store, [(pictures, 1)])
        assert sorted(np.diff(store.finish().offsets).tolist()) == counts
    assert not len(read_proposals(file).lost)
