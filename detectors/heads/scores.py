"""How logits and quality become scores in [0, 1]: `(logits, quality) -> scores [B, N, C]`.

Those that cannot do without a quality, or take background for the first class, say so by an
attribute `needs_quality` or `needs_background`, as loss terms do; what makes scores of logits by
`score_activation`: "logistic" where nothing is said, "softmax" or "linear".
"""

from collections.abc import Callable

from torch import Tensor


def needs_quality(part: Callable) -> bool:
    """Whether a score, which Hydra gives as a partial, or a loss term needs a quality."""
    return getattr(getattr(part, "func", part), "needs_quality", False)


def needs_background(part: Callable) -> bool:
    """Whether the first of the logits that a score or a loss term takes is background."""
    return getattr(getattr(part, "func", part), "needs_background", False)


def score_activation(part: Callable) -> str:
    """What makes scores of the logits that a score or a loss term takes."""
    return getattr(getattr(part, "func", part), "score_activation", "logistic")


def class_score(logits: Tensor, quality: Tensor | None) -> Tensor:
    """Independent logistic classes (RetinaNet, CenterNet)."""
    return logits.sigmoid()


def class_times_quality(logits: Tensor, quality: Tensor) -> Tensor:
    """Class times objectness (YOLOv3), or class times centre-ness (FCOS, sec. 3.4)."""
    return logits.sigmoid() * quality.sigmoid()[..., None]


class_times_quality.needs_quality = True  # type: ignore[attr-defined]


def root_of_class_times_quality(logits: Tensor, quality: Tensor) -> Tensor:
    """The geometric mean of class and centre-ness (released FCOS): same ranking, higher numbers."""
    return class_times_quality(logits, quality).sqrt()


root_of_class_times_quality.needs_quality = True  # type: ignore[attr-defined]


def softmax_without_background(logits: Tensor, quality: Tensor | None) -> Tensor:
    """Softmax over background and C classes [B, N, 1 + C], the C classes of it (Fast R-CNN)."""
    return logits.softmax(-1)[..., 1:]


softmax_without_background.needs_background = True  # type: ignore[attr-defined]
softmax_without_background.score_activation = "softmax"  # type: ignore[attr-defined]


def softmax_times_quality(logits: Tensor, quality: Tensor) -> Tensor:
    """Exclusive classes times objectness (YOLOv2; darknet `src/region_layer.c`)."""
    return logits.softmax(-1) * quality.sigmoid()[..., None]


softmax_times_quality.needs_quality = True  # type: ignore[attr-defined]
softmax_times_quality.score_activation = "softmax"  # type: ignore[attr-defined]


def linear_class_times_quality(logits: Tensor, quality: Tensor) -> Tensor:
    """Class times confidence without any squashing (YOLOv1, eq. 1), cut to [0, 1].

    The cut is ours: darknet ranks by what exceeds one as well. As there, two negative numbers make
    a positive score.
    """
    return (logits * quality[..., None]).clamp(0, 1)


linear_class_times_quality.needs_quality = True  # type: ignore[attr-defined]
linear_class_times_quality.score_activation = "linear"  # type: ignore[attr-defined]
