"""Runs exported files, in the place of the detector that they were made of."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

import detectors.ops.suppression  # noqa: F401  defines operators of the program
from detectors.engine.prediction import Predictor
from detectors.export.description import described
from detectors.export.writing import check_packages
from detectors.structures import Detections

SUFFIXES = (".onnx", ".pt2")


def opened(file: Path, cfg: DictConfig) -> Predictor:
    """What is in a file, in the place of a checkpoint.

    Args:
        cfg: of `detectors predict`.

    Raises:
        ValueError: the file is none of `detectors export`, has no suppression in it, or is one that
            may hold code and is not trusted; or the words ask for what it cannot do.
    """
    _check_words(file, cfg)
    check_packages(file.suffix[1:])
    detector = OnnxDetector(file) if file.suffix == ".onnx" else ProgramDetector(file)
    told = detector.description
    if not told.suppression:
        raise ValueError(
            f"{file}: was exported with suppression=false, so it writes candidates, not detections"
        )
    place = torch.device("cpu")
    return Predictor(detector, place, told.resize, list(told.classes), list(told.category_ids))


def _check_words(file: Path, cfg: DictConfig) -> None:
    if cfg.device not in ("auto", "cpu"):
        raise ValueError(f"device={cfg.device}: an exported file runs on the cpu here")
    if cfg.precision not in ("auto", "32-true", 32):
        raise ValueError(
            f"precision={cfg.precision}: an exported file has its own, chosen when it was written"
        )
    if file.suffix == ".pt2" and "pt2" not in cfg.trust:
        raise ValueError(
            f"{file}: torch reads such a file with pickle, which may run code that is in it: say "
            "trust=[pt2] if you know who wrote it, or use format=onnx, which holds no code"
        )


def _named(model: Path | bytes) -> str:
    return str(model) if isinstance(model, Path) else "the file"


class OnnxDetector(nn.Module):
    """`(images, frames) -> Detections` by onnxruntime, on the CPU.

    Args:
        model: the file, or what is in it.
        threads: that onnxruntime uses; 0 is its own choice.

    Raises:
        ValueError: it is none of `detectors export`.
    """

    def __init__(self, model: Path | bytes, threads: int = 0) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        given = model if isinstance(model, bytes) else os.fspath(model)
        try:
            self.session = onnxruntime.InferenceSession(
                given, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of many kinds
            raise ValueError(f"{_named(model)}: no ONNX file, or a damaged one: {error}") from error
        texts = self.session.get_modelmeta().custom_metadata_map
        self.description = described(texts, model if isinstance(model, Path) else "the file")

    def outputs(self, images: Tensor, frames: Tensor) -> tuple[Tensor, ...]:
        """All outputs for images [B, 3, H, W] uint8 and frames [B, 4]."""
        given = {"images": images, "frames": frames}
        arrays = {name: tensor.cpu().contiguous().numpy() for name, tensor in given.items()}
        return tuple(torch.from_numpy(array) for array in self.session.run(None, arrays))

    def forward(self, images: Tensor, frames: Tensor) -> Detections:
        """Detections in pixels of the images."""
        return Detections(*self.outputs(images, frames))


class ProgramDetector(nn.Module):
    """`(images, frames) -> Detections` by the exported program of torch, on the CPU.

    Reading such a file may run code that is in it: only read one whose maker you know.

    Args:
        model: the file, or what is in it.

    Raises:
        ValueError: it is none of `detectors export`.
    """

    def __init__(self, model: Path | bytes) -> None:
        super().__init__()
        texts: dict[str, Any] = {"format": ""}  # torch fills no empty one
        file = io.BytesIO(model if isinstance(model, bytes) else model.read_bytes())
        try:
            program = torch.export.load(file, extra_files=texts)
        except Exception as error:  # of many kinds
            told = "no exported program, or a damaged one"
            raise ValueError(f"{_named(model)}: {told}: {error}") from error
        self.description = described(texts, model if isinstance(model, Path) else "the file")
        self.run = program.module().forward  # no submodule, which `to` would move

    def outputs(self, images: Tensor, frames: Tensor) -> tuple[Tensor, ...]:
        """All outputs for images [B, 3, H, W] uint8 and frames [B, 4]."""
        with torch.autocast("cpu", enabled=False):
            return tuple(self.run(images.cpu().contiguous(), frames.cpu()))

    def forward(self, images: Tensor, frames: Tensor) -> Detections:
        """Detections in pixels of the images."""
        return Detections(*self.outputs(images, frames))
