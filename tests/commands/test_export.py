"""`detectors export` writes a file that takes the place of its checkpoint, or none."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from detectors.config.compose import compose
from detectors.config.links import with_links
from detectors.export.running import OnnxDetector
from detectors.structures import CHECKPOINT_FORMAT
from tests.export.conftest import lively

NAMES = ["disc", "square", "star", "ring"]
WORDS = ["model=yolov3_tiny", "size=small", "image_size=96", "data=scenes_easy", "run_dir=none"]
PAGE = Path(__file__).parents[2] / "docs" / "export.md"


def write_checkpoint(folder: Path, *words: str) -> Path:
    """Of a detector that finds much, as its logits are spread."""
    checkpoint = {
        "format": CHECKPOINT_FORMAT,
        "config": with_links(compose([*WORDS, *words])),
        "classes": NAMES,
        "category_ids": [3, 5, 7, 11],
        "state_dict": {},
    }
    state = lively("yolov3_tiny", classes=len(NAMES), patches=False).state_dict()
    checkpoint["state_dict"] = {f"detector.{name}": value for name, value in state.items()}
    file = folder / "model.ckpt"
    torch.save(checkpoint, file)
    return file


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def pictures(data_root, tmp_path_factory) -> Path:
    """A folder of twenty real ones."""
    folder = tmp_path_factory.mktemp("pictures")
    for picture in sorted((data_root / "coco_tiny" / "val2017").glob("*.jpg"))[:20]:
        shutil.copy(picture, folder)
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint, detectors, pictures, tmp_path_factory) -> Path:
    """An ONNX file with float16 weights, compared on real pictures."""
    here = tmp_path_factory.mktemp("exported")
    words = f"ckpt_path={checkpoint}", f"source={pictures}", "precision=16"
    detectors(here, "export", *words, "file=out/small.onnx", "hydra.run.dir=runs/export")
    log = (here / "runs" / "export" / "log.txt").read_text()
    assert re.search(r"onnx beside PyTorch.*: \d{3,} rows agree within .* \(allowed: 0\.01 px", log)
    assert re.search(r"weights in float16.* detections of the checkpoint stay within 1 px", log)
    return here / "out" / "small.onnx"


def found(folder: Path, detectors, file: Path, pictures: Path, *words: str) -> list[dict]:
    """What `detectors predict` writes."""
    given = f"ckpt_path={file}", f"source={pictures}", "score_threshold=0.05", "precision=32-true"
    detectors(folder, "predict", *given, "device=cpu", *words, f"hydra.run.dir=runs/{file.suffix}")
    return json.loads((folder / "runs" / file.suffix / "detections.json").read_text())


def assert_same(first: list[dict], second: list[dict], pixels: float, score: float) -> None:
    assert len(first) == len(second) > 20
    for one, other in zip(first, second, strict=True):
        keys = "image_id", "category_id"
        assert [one[key] for key in keys] == [other[key] for key in keys]
        assert np.allclose(one["bbox"], other["bbox"], atol=pixels)
        assert abs(one["score"] - other["score"]) <= score


def test_the_file_says_how_it_is_used(exported) -> None:
    told = onnxruntime.InferenceSession(exported).get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == NAMES
    assert json.loads(told["category_ids"]) == [3, 5, 7, 11]
    assert json.loads(told["canvas"]) == [96, 96]
    assert json.loads(told["resize"]) == {"rule": "letterbox", "size": [96, 96]}
    assert "canvas of grey 114" in told["preparation"]
    assert json.loads(told["precision"]) == 16


def test_half_the_bits_are_half_the_file(exported, checkpoint) -> None:
    assert exported.stat().st_size < 0.6 * checkpoint.stat().st_size


def test_the_example_of_the_page_finds_what_predict_finds(
    exported, pictures, detectors, tmp_path, monkeypatch, capsys
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    picture = sorted(pictures.glob("*.jpg"))[0]
    shutil.copy(exported, tmp_path / "detector.onnx")
    cv2.imwrite(str(tmp_path / "photo.png"), cv2.imread(str(picture)))
    monkeypatch.chdir(tmp_path)
    here: dict = {}
    exec(code.replace("photo.jpg", "photo.png"), here)
    assert len(capsys.readouterr().out.splitlines()) == here["valid"].sum() > 0
    rows = found(tmp_path, detectors, tmp_path / "detector.onnx", tmp_path / "photo.png")
    boxes = np.array([row["bbox"] for row in rows])
    shown = here["scores"] >= 0.05
    assert np.allclose(boxes[:, :2], here["boxes"][shown, :2], atol=1e-2)
    assert np.allclose([row["score"] for row in rows], here["scores"][shown], atol=1e-6)


def test_predict_gives_the_same_for_a_program_as_for_its_checkpoint(
    checkpoint, pictures, detectors, tmp_path, capsys
) -> None:
    words = f"ckpt_path={checkpoint}", f"source={pictures}", "format=pt2"
    detectors(tmp_path, "export", *words, "file=same.pt2")
    expected = found(tmp_path, detectors, checkpoint, pictures)
    with pytest.raises(SystemExit):
        found(tmp_path, detectors, tmp_path / "same.pt2", pictures)
    assert "say trust=[pt2] if you know who wrote it" in capsys.readouterr().err
    rows = found(tmp_path, detectors, tmp_path / "same.pt2", pictures, "trust=[pt2]")
    assert_same(expected, rows, pixels=1e-2, score=1e-4)


def test_predict_gives_nearly_the_same_for_a_rounded_file(
    exported, checkpoint, pictures, detectors, tmp_path
) -> None:
    """Strictly equal to the detector with the same rounded weights; near the checkpoint's."""
    few = sorted(pictures.glob("*.jpg"))[:2]
    one = tmp_path / "few"
    one.mkdir()
    for picture in few:
        shutil.copy(picture, one)
    rows = found(tmp_path, detectors, exported, one)
    best = max(found(tmp_path, detectors, checkpoint, one), key=lambda row: row["score"])
    near = [row for row in rows if np.allclose(row["bbox"], best["bbox"], atol=2.0)]
    assert any(abs(row["score"] - best["score"]) < 1e-2 for row in near)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["file=model.pt2"], "file=model.pt2: end it with .onnx"),
        (["precision=bf16-mixed"], "expected 32 or 16"),
        (["format=tflite"], "format: found 'tflite'"),
        (["tta=scales"], "tta=once exports the detector alone"),
    ],
)
def test_words_that_cannot_be_are_refused(
    words, told, checkpoint, detectors, tmp_path, capsys
) -> None:
    with pytest.raises(SystemExit) as stop:
        detectors(tmp_path, "export", f"ckpt_path={checkpoint}", *words)
    assert told in f"{stop.value} {capsys.readouterr().err}"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trick=[soft_nms]"], "suppression by Soft"),
        (["trick=[multiscale_tta]"], "test-time augmentation"),
        (["part.postprocess.score_threshold=1.0"], "finds nothing in the pictures"),
    ],
)
def test_what_cannot_be_exported_leaves_no_file(words, told, detectors, tmp_path, capsys) -> None:
    file = write_checkpoint(tmp_path, *words)
    with pytest.raises(SystemExit):
        detectors(tmp_path, "export", f"ckpt_path={file}", "format=pt2", "file=x.pt2")
    assert told in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [file]


def test_a_file_that_disagrees_is_not_written(
    checkpoint, detectors, tmp_path, capsys, monkeypatch
) -> None:
    import detectors.commands.export as command

    def disturbed(content: bytes):
        program = command.ProgramDetector(content)
        outputs = program.outputs
        monkeypatch.setattr(
            program, "outputs", lambda *given: (outputs(*given)[0] + 0.1, *outputs(*given)[1:])
        )
        return program

    monkeypatch.setitem(command.FORMATS, "pt2", (command.as_pt2, disturbed))
    with pytest.raises(SystemExit):
        detectors(tmp_path, "export", f"ckpt_path={checkpoint}", "format=pt2", "file=x.pt2")
    assert "is in one list alone" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(checkpoint, detectors, tmp_path, capsys, monkeypatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *p: None if name == "onnx" else real(name, *p)
    )
    with pytest.raises(SystemExit):
        detectors(tmp_path, "export", f"ckpt_path={checkpoint}")
    assert "pip install 'lightning-detectors[export]'" in capsys.readouterr().err


def test_a_file_of_others_is_refused(tmp_path) -> None:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "g", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(ValueError, match="was not written by `detectors export`"):
        OnnxDetector(model.SerializeToString())


def test_safetensors_hold_the_checkpoint_itself(checkpoint, detectors, pictures, tmp_path) -> None:
    words = f"ckpt_path={checkpoint}", "format=safetensors", "file=same.safetensors"
    detectors(tmp_path, "export", *words)
    few = tmp_path / "few"
    few.mkdir()
    for picture in sorted(pictures.glob("*.jpg"))[:3]:
        shutil.copy(picture, few)
    expected = found(tmp_path, detectors, checkpoint, few)
    rows = found(tmp_path, detectors, tmp_path / "same.safetensors", few)
    assert rows == expected != []


def test_safetensors_refuse_what_they_would_not_do(checkpoint, detectors, tmp_path, capsys) -> None:
    words = "format=safetensors", "precision=16"
    with pytest.raises(SystemExit):
        detectors(tmp_path, "export", f"ckpt_path={checkpoint}", *words)
    assert "precision=16: format=safetensors keeps" in capsys.readouterr().err
