"""What it would cost to give a prior an object, for assigners that look at predictions."""

from torch import Tensor

from detectors.ops.selection import gather_rows


def focal_costs(scores: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Focal loss of affirming and of denying each class (RetinaNet, eq. 5), two of [B, N, C].

    A logarithm is at least -100, as torch's `binary_cross_entropy` has it.
    """
    affirm = -alpha * (1 - scores).pow(gamma) * scores.log().clamp(min=-100)
    deny = -(1 - alpha) * scores.pow(gamma) * (1 - scores).log().clamp(min=-100)
    return affirm, deny


def of_objects(affirm: Tensor, deny: Tensor, labels: Tensor) -> Tensor:
    """Cost [B, M, N] of affirming one class [B, M] and denying all others, [B, N, C] each."""
    return deny.sum(-1)[:, None] + gather_rows((affirm - deny).transpose(1, 2), labels)
