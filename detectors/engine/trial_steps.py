"""Training steps on noise, by which a setting is chosen before a run."""

import copy
import gc
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from detectors.clock import class_counts
from detectors.data.collate import bucket
from detectors.data.module import DetectionData
from detectors.layers.progress import tell, tell_counts
from detectors.measuring import synchronize
from detectors.module import LitDetector
from detectors.structures import Batch, Progress, Proposals, Targets

STEPS = 2  # of a trial: the state of an optimiser is made in the first, and is there in the second


class TrialSteps:
    """Makes training steps of a detector as the run will make them, with the batch that needs most.

    Weights are moved by what is learnt from noise, so the module is of no further use. Nothing is
    compiled, which takes no less memory, unless `loss` is.

    Attributes:
        device: where they are made.
        loss: the loss of the detector, or what is to take its place.
        told: what the batch contains, in words.
    """

    def __init__(self, module: LitDetector, data: DetectionData, trainer: Trainer) -> None:
        self.device, self.precision = trainer.strategy.root_device, trainer.precision_plugin
        self.precision.convert_module(module)  # where all is computed in bf16 or float16
        self.module = module.to(self.device).train()
        self.loss: Callable[..., Mapping[str, Tensor]] = module.detector.loss
        assert module.optimizer is not None
        self.optimizer = module.optimizer(module.detector)
        averaged = any(isinstance(c, WeightAveraging) for c in trainer.callbacks)  # type: ignore[attr-defined]
        self.average = copy.deepcopy(module.detector) if averaged else None  # which takes memory
        self.canvas = max(data.canvases(), key=math.prod)
        self.objects = most_objects(data)
        self.rows = bucket(self.objects, data.min_objects)
        self.classes = len(data.classes)
        proposals = data.proposals_of("train")
        self.proposed = 0 if proposals is None else proposals.most
        self.told = f"pictures of {self.canvas} (height, width) and {self.objects} objects in each"
        tell_counts(module, class_counts(data.annotations("train")))

    def fit(self, count: int) -> bool:
        """Whether there is memory for steps with that many pictures."""
        try:
            for number in range(STEPS):  # the second one finds the state of the optimiser there
                self.make(self.batch(count), number)
            synchronize(self.device)
        except torch.OutOfMemoryError:
            return False
        finally:
            self.optimizer.zero_grad()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    def batch(self, count: int) -> Batch:
        """As many pictures of noise on the largest canvas, with as many objects as there may be."""
        batch = full_batch(count, self.canvas, self.rows, self.objects, self.classes, self.device)
        if not self.proposed:
            return batch
        boxes = batch.targets.boxes.repeat(1, -(-self.proposed // self.rows), 1)
        boxes = boxes[:, : self.proposed]
        return batch._replace(proposals=Proposals(boxes, torch.ones_like(boxes[..., 0]).bool()))

    def make(self, batch: Batch, number: int) -> None:
        """One step; the gradients of the last one stay, as they do where they are accumulated."""
        count = len(batch.images)
        seen, steps = (number + 1) * count, max(number + 1, STEPS)
        progress = Progress(images_seen=seen, step=number, steps=steps)
        tell(self.module, progress)
        for trick in self.module.batch_tricks.values():
            batch = trick(batch, self.module.detector, progress, seed=number)
        with self.precision.train_step_context():
            images = batch.images.contiguous(memory_format=self.module.memory_format)
            terms = self.loss(images, batch.targets, *batch.places)
        torch.stack(list(terms.values())).sum().backward()
        self.optimizer.step()


def most_objects(data: DetectionData) -> int:
    """As many objects as a training picture may have, mixes among them."""
    found = most = int(np.diff(data.annotations("train").offsets).max())
    for mix in data.mix.values():
        mixed = most * (1 + mix.partners)
        most = min(mixed, getattr(mix, "most", mixed))
    return max(found, most)


def full_batch(
    count: int,
    canvas: tuple[int, int],
    rows: int,
    objects: int,
    classes: int,
    device: torch.device,
) -> Batch:
    """Noise that fills the canvas, the same for the same numbers, and objects of any size."""
    height, width = canvas
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, *canvas), dtype=torch.uint8, generator=draw)
    sides = torch.tensor([width, height])
    corners = torch.rand(count, rows, 2, generator=draw) * 0.5 * sides
    extents = (0.05 + 0.45 * torch.rand(count, rows, 2, generator=draw)) * sides
    targets = Targets(
        boxes=torch.cat([corners, corners + extents], dim=-1),
        labels=torch.randint(0, classes, (count, rows), generator=draw),
        valid=(torch.arange(rows) < objects).expand(count, rows),
        ignore=torch.zeros(count, rows, dtype=torch.bool),
    )
    frame = torch.tensor([0.0, 0.0, width, height])
    batch = Batch(
        images=images.to(device),
        targets=Targets(*(part.to(device) for part in targets)),
        frames=frame.expand(count, 4).to(device),
        to_original=torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(count, 4).to(device),
        ids=torch.arange(count, device=device),
    )
    return batch
