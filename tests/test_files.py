"""A file of a run is written whole or not at all, and the reason is told."""

import contextlib
import errno
import os
from pathlib import Path

import pytest
import torch

from detectors import files
from detectors.engine.checkpoint_files import CheckpointFiles
from detectors.files import whole_file


def test_what_fails_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    with whole_file(file) as opened:
        opened.write("old\n")
    with contextlib.suppress(KeyError), whole_file(file) as opened:
        opened.write("ne")
        raise KeyError
    assert file.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [file]


def test_it_is_written_beside_its_place_and_reaches_the_disk_before_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append("sync") or sync(descriptor))
    monkeypatch.setattr(os, "replace", lambda *paths: order.append("name") or replace(*paths))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    (tmp_path / "run").mkdir()
    CheckpointFiles().save_checkpoint({"state_dict": {"w": torch.ones(2)}}, tmp_path / "run" / "a")
    assert order == ["sync", "name", "sync"]
    assert torch.load(tmp_path / "run" / "a", weights_only=True)["state_dict"]["w"].sum() == 2


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "last.ckpt").symlink_to(tmp_path / "large" / "last.ckpt")
    with whole_file(tmp_path / "last.ckpt", "wb") as opened:
        opened.write(b"weights")
    assert (tmp_path / "last.ckpt").is_symlink()
    assert (tmp_path / "large" / "last.ckpt").read_bytes() == b"weights"


def test_a_checkpoint_that_does_not_fit_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "last.ckpt"
    file.write_bytes(b"old")
    monkeypatch.setattr(files, "_free", lambda folder: 3_000_000)
    monkeypatch.setattr(torch, "save", lambda *_: pytest.fail("written"))
    with pytest.raises(OSError, match=r"last\.ckpt needs 4\.0 MB, its disk has 3\.0 MB free"):
        CheckpointFiles().save_checkpoint({"state_dict": {"w": torch.ones(1_000_000)}}, file)
    assert file.read_bytes() == b"old"


def test_a_disk_that_fills_up_while_torch_writes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`/dev/full` takes nothing, and torch reports an error of its own."""
    full = Path("/dev/full")
    monkeypatch.setattr(files, "open", lambda *_, **__: full.open("wb"), raising=False)
    with pytest.raises(OSError, match=r"last\.ckpt needs .* MB free: make room, or choose another"):
        CheckpointFiles().save_checkpoint({"a": torch.ones(100_000)}, tmp_path / "last.ckpt")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "open", closed, raising=False)
    with (
        pytest.raises(OSError, match=r"config\.yaml cannot be written .*hydra\.run\.dir=FOLDER"),
        whole_file(tmp_path / "config.yaml"),
    ):
        pass


def test_an_error_of_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no picture"), whole_file(tmp_path / "a"):
        raise FileNotFoundError(errno.ENOENT, "no picture")


@pytest.mark.parametrize(
    ("key", "state", "named"),
    [
        ("state_dict", {"head.weight": torch.tensor([1.0, torch.nan])}, "state_dict.head.weight"),
        ("current_model_state", {"norm": torch.tensor(torch.inf)}, "current_model_state.norm"),
        ("optimizer_states", [{"state": {3: {"m": torch.tensor(-torch.inf)}}}], "0.state.3.m"),
    ],
)
def test_numbers_that_are_not_finite_are_not_saved(
    tmp_path: Path, key: str, state: object, named: str
) -> None:
    file, good = tmp_path / "best.ckpt", {"state_dict": {"w": torch.ones(2)}}
    CheckpointFiles().save_checkpoint(good, file)
    before = file.read_bytes()
    with pytest.raises(FloatingPointError, match=rf"{named} is not finite, so .*best\.ckpt is not"):
        CheckpointFiles().save_checkpoint({**good, key: state}, file)
    assert file.read_bytes() == before
