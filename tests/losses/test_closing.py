import pytest
import torch

from detectors.layers.progress import tell
from detectors.losses.box import SmoothL1
from detectors.losses.closing import ClosingTerm
from detectors.structures import Progress
from tests.losses.loss_examples import matched


def progress(epoch: int, epochs: int) -> Progress:
    return Progress(images_seen=1, step=0, steps=10, epoch=epoch, epochs=epochs)


def test_a_term_joins_in_the_last_epochs_only() -> None:
    """16 of 300 are epochs 284 to 299, as in YOLOX's release."""
    term, given = SmoothL1(0.0), matched("+-+", "---")
    closing = ClosingTerm(term, last=16)
    for epoch, on in ((0, 0), (283, 0), (284, 1), (299, 1)):
        tell(closing, progress(epoch, 300))
        assert torch.equal(closing(given), on * term(given))


def test_it_stays_silent_until_it_is_told() -> None:
    with pytest.raises(ValueError, match="ClosingTerm changes as training goes on"):
        ClosingTerm(SmoothL1(0.0))(matched("+"))


def test_it_is_what_the_term_is() -> None:
    closing = ClosingTerm(SmoothL1(0.0))
    assert (closing.deltas, closing.counts) == ("box", "objects")
    assert not closing.needs_quality
