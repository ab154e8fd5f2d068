"""`detectors evaluate` on other data: classes are matched by name, or refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import detectors as package
from tests.small_pictures import write_picture


@pytest.fixture(scope="module")
def names(trained: Path) -> list[str]:
    return torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)["classes"]


def written(folder: Path, names: list[str]) -> list[str]:
    """Words for two pictures in COCO's format, with classes of these names."""
    for name in ("a.png", "b.png"):
        write_picture(folder / name)
    boxes = [(1, 1, [2, 2, 10, 10]), (2, 2, [4, 4, 8, 8])]
    content = {
        "images": [
            {"id": k, "file_name": f"{name}.png", "width": 30, "height": 20}
            for k, name in ((1, "a"), (2, "b"))
        ],
        "annotations": [
            {"id": k, "image_id": image, "category_id": k, "bbox": box, "area": 64, "iscrowd": 0}
            for k, (image, _, box) in enumerate(boxes, 1)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(names, 1)],
    }
    file = folder / f"{'_'.join(names)}.json"
    file.write_text(json.dumps(content))
    root = [f"data.val.json_file={file}", f"data.val.images={folder}"]
    return ["data=coco", "data.num_classes=4", *root, "data.num_workers=0", "device=cpu"]


def test_classes_in_another_order_are_mapped_by_name_and_others_refused(
    trained: Path,
    names: list[str],
    detectors: Callable[..., None],
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
) -> None:
    best = f"ckpt_path={trained / 'checkpoints' / 'best.ckpt'}"
    detectors(tmp_path, "evaluate", best, *written(tmp_path, names[::-1]), "hydra.run.dir=out")
    assert "mapped to the model's by name" in (tmp_path / "out" / "log.txt").read_text()
    scores = json.loads((tmp_path / "out" / "metrics.json").read_text())
    # The file's first two classes have objects, which are the model's last two.
    assert [scores[f"val/AP/{name}"] >= 0 for name in names] == [False, False, True, True]
    with pytest.raises(SystemExit):
        detectors(tmp_path, "evaluate", best, *written(tmp_path, [*names[:3], "emu"]))
    assert f"does not know emu, and {names[3]} of the model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("data=nosuch", "there is no data=nosuch"),
        ("+data=nosuch", "there is no data=nosuch"),
        ("resize=nosuch", "there is no resize=nosuch"),
        ("+data.train.read.count=3", "reads nothing that depends on data.train.read.count"),
    ],
)
def test_what_is_not_there_is_refused(
    word: str,
    told: str,
    trained: Path,
    detectors: Callable[..., None],
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
) -> None:
    best = f"ckpt_path={trained / 'checkpoints' / 'best.ckpt'}"
    with pytest.raises(SystemExit) as stop:
        detectors(tmp_path, "evaluate", best, word)
    assert told in f"{stop.value} {capsys.readouterr().err}"


@pytest.mark.parametrize(("words", "most"), [([], 1), (["tta=flip_merged"], 2)])
def test_pictures_with_more_objects_than_all_views_find_are_told(
    trained: Path, detectors: Callable[..., None], tmp_path: Path, words: list[str], most: int
) -> None:
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["config"]["part"]["postprocess"]["detections"] = 1
    torch.save(checkpoint, tmp_path / "one.ckpt")
    detectors(tmp_path, "evaluate", "ckpt_path=one.ckpt", *words, "hydra.run.dir=out")
    told = (tmp_path / "out" / "log.txt").read_text()
    assert "pictures hold more objects" in told
    assert f"than the {most} that this detector can find" in told


def test_a_checkpoint_is_loaded_in_python(trained: Path, names: list[str]) -> None:
    file = trained / "checkpoints" / "best.ckpt"
    detector = package.load(file)
    assert detector.classes == tuple(names)
    assert not detector.training
    state = torch.load(file, weights_only=True)["state_dict"]
    own = detector.state_dict()
    assert all(torch.equal(own[name.removeprefix("detector.")], state[name]) for name in state)
    with torch.no_grad():
        found = detector(torch.zeros(1, 3, 256, 256, dtype=torch.uint8))
    assert found.boxes.shape[::2] == (1, 4)
