"""Ends the mixes of samples some epochs before the training ends."""


class Closing:
    """Ends all mixes some epochs before the training does; YOLOX, Ge et al. 2021, sec. 2.1.

    Args:
        last: epochs without mixes, at the end.
        epochs: of the training.

    Raises:
        ValueError: the number of epochs is not known, or not above `last`.
    """

    def __init__(self, last: int, epochs: int | None) -> None:
        if last < 1 or epochs is None or last >= epochs:
            raise ValueError(
                f"closing_mosaic: the last {last} of {epochs} epochs are to be without mixes, "
                "which leaves no epoch with or none without them; set trainer.max_epochs above "
                "data.closing.last, and that to 1 or more"
            )
        self.last, self.epochs = last, epochs

    def mixes(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, has mixes."""
        return epoch < self.epochs - self.last
