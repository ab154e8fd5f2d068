"""States what the keys may be that commands read at the top level of their configs.

All others are there to be referred to, by `${...}`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from detectors.config.paths import checkpoint_at
from detectors.config.values import check_value
from detectors.ranges import Count, Positive, Share, Whole

Parts = Mapping[str, Callable[..., Any]]
Part = Callable[..., Any]
Size = Count | tuple[Count, Count]
Device = Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
Precision = Literal[
    "auto",
    "32-true",
    "bf16-mixed",
    "16-mixed",
    "64-true",
    "bf16-true",
    "16-true",
    "transformer-engine",
    "transformer-engine-float16",
    "bf16",
    16,
    32,
    64,
]

# Of all commands together, because a word means the same in each.
SETTINGS: dict[str, Any] = {
    "seed": Whole,
    "num_classes": Count | None,  # None until the data are read
    "image_size": Size,
    "device": Device,
    "precision": Precision,
    "channels_last": bool,
    "compile": bool | Literal["auto", "all"],
    "weights": str | None,
    "weights_classes": Count | None,
    "clustering": Part | None,
    "stages": Mapping | None,  # None in a stage itself
    "ckpt_path": str | None,
    "tta": Part | Literal["trained"] | None,
    "learning_rate": Part,
    "batch_tricks": Parts,
    "objective": str,
    "select": Literal["best", "last"],
    "latency": bool,
    "report": bool,
    "debug": str,  # in debug runs alone
    "fingerprint": Literal["quick", "full"],
    "model": Part,
    "data": Mapping,
    "trainer": Part,
    "optimizer": Part,
    "metrics": Parts,
    "run_dir": str,
    "finish": Part | None,  # pretrain
    "cutmix": Part | None,
    "label_smoothing": Share,
    "split": Literal["val", "test"],  # evaluate
    "trust": list[str],
    "source": str | int | list[str | int],  # predict; a folder may be called 2024
    "every": Count,
    "frames": Count | None,
    "seconds": Positive | None,
    "save": list[Literal["pictures", "coco", "yolo", "csv"]],
    "video": Literal["mp4", "frames"],
    "score_threshold": Share,
    "format": Literal["onnx", "pt2", "safetensors"],  # export
    "suppression": bool,
    "batch_size": Count,
    "epoch": Whole,  # preview, assign
    "count": Count,
    "columns": Count,
    "file": str,
    "compare": list[str],
    "run": str | list[str],  # report
    "into": str | None,
    "levels": Count,  # anchors
    "method": Part,  # propose
    "splits": list[Literal["train", "val", "test"]],
    "families": list[str],  # tricks
    "tricks": list[str] | None,
    "grid": str,
    "page": str,
    "study": Mapping,  # study
    "search": Mapping,  # search
    "do": Literal["plan", "run", "status", "report", "verify", "compare"],
    "store": str,
    "folder": str | None,
    "import": str | None,
    "accept": list[Literal["code", "machine", "versions"]],
    "retrain": Whole,
    "retrain_seed": Whole | None,
    "again": bool,
    "jobs": Count | None,
    "threads": Count | None,
    "executor": Literal["local", "slurm", "ray"],
    "cluster": Mapping | None,
    "runs": list[str],
    "to": list[Literal["wandb", "mlflow"]],
}


def check_settings(cfg: DictConfig) -> None:
    """Refuse a value at the top level that is of another type or out of its range.

    Raises:
        ValueError: names the key, the value and what was expected; or the trainer computes on
            another device than `device`, or no file is at `ckpt_path`.
    """
    present = {str(key) for key in cfg}  # `in cfg` denies what has no value yet
    for key in [key for key in SETTINGS if key in present]:
        try:
            value = cfg[key]
        except InterpolationResolutionError:  # known in a running job alone, such as its folder
            continue
        plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        check_value(key, plain, SETTINGS[key])
    _check_device(cfg)
    if cfg.get("ckpt_path") not in (None, "last"):
        checkpoint_at(cfg.ckpt_path)


def _check_device(cfg: DictConfig) -> None:
    """Refuse a trainer that computes on another device than `device` names."""
    asked, own = (OmegaConf.select(cfg, key) for key in ("device", "trainer.device"))
    if {asked, own} == {"gpu", "cuda"} or {asked, own} & {"auto", None} or asked == own:
        return
    raise ValueError(
        f"device={asked}, but the trainer computes on device {own}: leave out device={asked}, or "
        "choose the trainer of that device"
    )
