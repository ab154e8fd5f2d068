"""Write a detector as one file, ONNX or pt2, compared with PyTorch before, or as safetensors."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from detectors.data.augment.transforms import Resize
from detectors.engine import run_folder
from detectors.engine.checkpoint import checkpoint_file
from detectors.engine.proposals import check_own
from detectors.engine.restoring import restored_data, restored_detector
from detectors.export.agreement import (
    HALF_PIXELS,
    HALF_SCORE,
    HALF_SHARE,
    PIXELS,
    SCORE,
    SIDES,
    Agreement,
    Rounding,
)
from detectors.export.description import Description, texts
from detectors.export.half import Halved, halved
from detectors.export.network import ExportedNetwork
from detectors.export.running import OnnxDetector, ProgramDetector
from detectors.export.verifying import agreement, batches, rounding, samples
from detectors.export.writing import as_onnx, as_pt2, check_packages
from detectors.files import whole_file
from detectors.fitted.detector import FittedDetector
from detectors.weights.checkpoint import load_checkpoint
from detectors.weights.container import write_container

_log = logging.getLogger(__name__)
FORMATS = {"onnx": (as_onnx, OnnxDetector), "pt2": (as_pt2, ProgramDetector)}


def main(cfg: DictConfig) -> Path:
    """Export, compare, write, and tell how well both agree; the file."""
    check_file(cfg)
    check_packages(cfg.format)
    checkpoint = load_checkpoint(checkpoint_file(cfg.ckpt_path, Path(cfg.run_dir)))
    if cfg.format == "safetensors":
        return kept(checkpoint, cfg)
    check_augmentation(checkpoint, cfg.tta)
    detector = restored_detector(checkpoint, cfg.trust).eval()
    if isinstance(detector, FittedDetector):
        raise ValueError(
            f"format={cfg.format}: what a fitted model does depends on the picture and is no graph "
            "of operations, which is what such a file holds: format=safetensors keeps its numbers"
        )
    check_own(detector, f"format={cfg.format}")
    resize = restored_data(checkpoint, OmegaConf.create({"data": {}}), cfg.trust).resize
    half = halved(detector) if cfg.precision == 16 else None
    network = ExportedNetwork(half.detector if half else detector, cfg.suppression).eval()
    pictures = batches(samples(cfg.source, resize))
    write, run = FORMATS[cfg.format]
    content = write(network, resize.canvas, texts(described_by(checkpoint, resize, cfg)))
    agreed = agreement(network, run(content), pictures)
    told = [agreement_told(cfg.format, agreed)]
    if half:
        told.append(rounding_told(half, rounding(detector, half.detector, pictures)))
    run_folder.record(cfg, list(HydraConfig.get().overrides.task))
    written(Path(cfg.file), content)
    _log.info("%s\n%s: %s bytes", "\n".join(told), cfg.file, f"{len(content):,}")
    return Path(cfg.file)


def kept(checkpoint: Mapping[str, Any], cfg: DictConfig) -> Path:
    """Write the checkpoint's weights and what it says of them as safetensors; the file."""
    restored_detector(checkpoint, cfg.trust)  # refuses what is no detector
    run_folder.record(cfg, list(HydraConfig.get().overrides.task))
    file = Path(cfg.file)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_container(checkpoint, file)
    _log.info("%s: %s bytes", file, f"{file.stat().st_size:,}")
    return file


def check_file(cfg: DictConfig) -> None:
    """Refuse a suffix by which `detectors predict` would not know the file, and idle words.

    Raises:
        ValueError: names the suffix or the word.
    """
    usual = {"suppression": True, "precision": 32, "source": [], "tta": "trained"}
    said = [key for key, value in usual.items() if cfg[key] != value]
    if cfg.format == "safetensors" and said:
        raise ValueError(
            f"{said[0]}={cfg[said[0]]}: format=safetensors keeps the checkpoint's own weights, of "
            "which the same detector is built: leave it out"
        )
    if Path(cfg.file).suffix != f".{cfg.format}":
        raise ValueError(f"file={cfg.file}: end it with .{cfg.format}, which is its format")
    if cfg.precision not in (16, 32):
        raise ValueError(
            f"precision={cfg.precision}: expected 32 or 16, the bits in which weights are stored"
        )


def check_augmentation(checkpoint: Mapping[str, Any], tta: Any) -> None:
    """Refuse test-time augmentation, of the checkpoint's run or of a word.

    Raises:
        ValueError: names the remedy.
    """
    asked = checkpoint["config"].get("tta") if tta == "trained" else tta
    if asked is not None:
        raise ValueError(
            "test-time augmentation asks the detector several times about a picture, which is no "
            "part of a file: tta=once exports the detector alone"
        )


def described_by(checkpoint: Mapping[str, Any], resize: Resize, cfg: DictConfig) -> Description:
    """What the file is to say of itself."""
    names, ids = tuple(checkpoint["classes"]), tuple(checkpoint["category_ids"])
    return Description(names, ids, resize, cfg.suppression, int(cfg.precision))


def written(file: Path, content: bytes) -> None:
    """Write the file whole, in a folder that is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file, "wb", len(content)) as opened:
        opened.write(content)


def agreement_told(form: str, agreed: Agreement) -> str:
    """The line about the comparison of file and detector."""
    ties = f", {agreed.moved} moved and {agreed.absent} absent by ties" * bool(
        agreed.moved + agreed.absent
    )
    return (
        f"{form} beside PyTorch, one picture and three at a time: {agreed.rows} rows agree within "
        f"{agreed.pixels:.1e} px and {agreed.score:.1e} of a score (allowed: {PIXELS:g} px "
        f"or {SIDES:.1e} of a longer side, {SCORE:g}){ties}"
    )


def rounding_told(half: Halved, rounding: Rounding) -> str:
    """The line about float16 weights."""
    return (
        f"{half.half:,} weights in float16, {half.kept:,} in float32: {rounding.near} of "
        f"{rounding.rows} detections of the checkpoint stay within {HALF_PIXELS:g} px and "
        f"{HALF_SCORE:g} of a score (allowed: {HALF_SHARE:.0%}), half of them within "
        f"{rounding.pixels:.1e} px and {rounding.score:.1e}"
    )
