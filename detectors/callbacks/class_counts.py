"""Tells losses how many objects of each class there are."""

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from detectors.losses.class_balance import ClassBalancedWeight


class SetClassCounts(Callback):
    """At the start of training, calls `count` of every `ClassBalancedWeight`.

    With the objects of the training split; those that no prior is assigned to (COCO crowds, VOC
    difficult) are not counted.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        annotations = trainer.datamodule.annotations("train")  # type: ignore[attr-defined]
        labels = annotations.labels[~(annotations.crowd | annotations.difficult)]
        counts = torch.from_numpy(np.bincount(labels, minlength=len(annotations.classes)))
        for part in pl_module.modules():
            if isinstance(part, ClassBalancedWeight):
                part.count(counts)
