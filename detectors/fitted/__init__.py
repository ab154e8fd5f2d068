"""The contract of fitted models: detectors that are fitted stage by stage, not step by step.

Viola-Jones, HOG with a linear SVM and their like have no loss that one optimiser lowers. They find
their numbers in stages, each of which looks at the training pictures as it likes. Such a model is a
class derived from `Fitted`, a file in `conf/fitted` that names it, and a file in `conf/model` that
chooses it. It stands in a `fitted.detector.FittedDetector`, which is evaluated like any detector.

- What a stage finds is kept by `keep`, as a buffer. So checkpoints hold it, and a run that was
  stopped goes on with the stage in which it was: whatever a stage needs of the ones before it is a
  buffer, or a file in `Work.folder`.
- Pictures are what the canvas shows of a picture after the resize, without the grey around it.
- What a stage draws comes from `Work.random`, so that it is a function of the seed.
- A file that the model starts with, so that nothing is left to fit, is its argument `weights`; it
  is read by the constructor, and never again once a checkpoint has the numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from detectors.random_streams import stream
from detectors.structures import Sample

T = TypeVar("T")


class Windows(NamedTuple):
    """What was found in one picture, in any order."""

    boxes: np.ndarray  # [n, 4] float32 xyxy in pixels of the picture
    scores: np.ndarray  # [n] float32 in [0, 1]
    labels: np.ndarray  # [n] int64 in 0..C-1


@dataclass(frozen=True)
class Work:
    """What a stage works on and with."""

    examples: Sequence[Sample]  # training pictures, read when asked for; boxes in their pixels
    classes: tuple[str, ...]  # name of each label
    seed: int
    device: torch.device  # on which the model is
    files: Path  # a folder for what is too large for a checkpoint; gone when the last stage is done
    show: Callable[..., Iterator[Any]]  # `callbacks.progress.tracked`

    @property
    def folder(self) -> Path:
        """`files`, made if it is not there."""
        self.files.mkdir(parents=True, exist_ok=True)
        return self.files

    def random(self, name: str, *key: int) -> np.random.Generator:
        """A generator of its own for what is drawn under this name, and for each key.

        Args:
            name: of what is drawn, such as "hard negatives".
            key: which time, such as the number of the picture; none is negative.
        """
        return stream(self.seed, *key, name=f"fitted/{name}")

    def tracked(self, items: Iterable[T], name: str, total: float | None = None) -> Iterator[T]:
        """The items, with a progress bar of this name."""
        return self.show(items, name, total=total)


class Fitted(nn.Module, ABC):
    """A detector that is fitted in stages."""

    stages: Annotated[tuple[str, ...], "names of what is fitted, in this order"]
    needs_proposals: Annotated[bool, "whether it looks at boxes that come with pictures"] = False
    done: Annotated[Tensor, "how many of them are done, a buffer"]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def fit(self, stage: str, work: Work) -> Mapping[str, float]:
        """Fit one stage, `keep` what was found, and say how it went, by name, for the log.

        The same work gives the same numbers. A stage that is begun anew begins with what those
        before it have kept.

        Raises:
            ValueError: the pictures do not let it be fitted; names what lacks.
        """

    @abstractmethod
    def scan(self, picture: np.ndarray) -> Windows:
        """All that is found in a picture [h, w, 3] uint8 RGB, before any suppression.

        A model that needs proposals has them as a further argument, [n, 4] float32 xyxy in pixels
        of the picture, the best first; in training its samples have them.
        """

    def described(self) -> Mapping[str, object]:
        """What `detectors show` tells of the model, by name; its buffers may be on "meta"."""
        return {}

    def keep(self, **numbers: Tensor | np.ndarray) -> None:
        """Make buffers of what was found; those of the same names are gone.

        Raises:
            FloatingPointError: a number is not finite; names the buffer.
        """
        for name, value in numbers.items():
            kept = torch.as_tensor(value).detach().to(self.done.device)
            known = kept.is_floating_point() and not kept.is_meta
            if known and not kept.isfinite().all():
                raise FloatingPointError(f"{type(self).__name__}.{name} is not finite")
            self.register_buffer(name, kept)

    def array(self, name: str) -> np.ndarray:
        """A buffer as a NumPy array."""
        return self.get_buffer(name).cpu().numpy()

    def start_with(self, **numbers: Tensor | np.ndarray) -> None:
        """Keep what a file of weights says, so that no stage is left."""
        self.keep(**numbers)
        self.done.fill_(len(self.stages))

    def check_fitted(self) -> None:
        """Refuse to be asked before all stages are done.

        Raises:
            ValueError: says how many are.
        """
        if int(self.done) < len(self.stages):
            raise ValueError(
                f"{type(self).__name__} has been fitted in {int(self.done)} of {len(self.stages)} "
                f"stages ({', '.join(self.stages)}): `detectors train` fits it"
            )

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *rest: Any, **named: Any
    ) -> None:
        """Buffers take the names and shapes that the file has: only a fitted model knows them."""
        for place, value in state_dict.items():
            name = place.removeprefix(prefix)
            own = place.startswith(prefix) and "." not in name and name not in self._parameters
            if own:
                device = self.done.device
                self.register_buffer(name, torch.empty_like(value, device=device))
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)
