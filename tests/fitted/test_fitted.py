"""A fitted model keeps what it found, and sees pictures without the grey around them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detectors.engine.checks import asked_in
from detectors.fitted import Fitted, Windows
from detectors.fitted.detector import FittedDetector
from detectors.postprocess import Greedy, Suppression
from detectors.structures import Proposals
from detectors.tta import FlipAverage
from tests.fitted.blobs import Blobs
from tests.fitted.works import sample, work


class Corner(Fitted):
    """Finds a window in the upper left corner of each picture, as bright as it is there."""

    stages = ()

    def fit(self, stage: str, work: object) -> dict[str, float]:
        return {}

    def scan(self, picture: np.ndarray) -> Windows:
        assert picture.dtype == np.uint8
        assert picture.flags.c_contiguous
        if not picture.any():
            return Windows(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
        shape = [[0, 0, picture.shape[1], picture.shape[0]], [0, 0, 2, 2]]
        score = picture[0, 0, 0] / 255
        return Windows(np.array(shape), np.array([score, score / 2]), np.array([1, 0]))


def detector(model: Fitted) -> FittedDetector:
    return FittedDetector(model, Suppression(Greedy(0.9), 0.0, 100, 100), 3)


def test_a_model_sees_the_frame_alone_and_its_windows_are_brought_back() -> None:
    images = torch.full((3, 3, 8, 12), 114, dtype=torch.uint8)
    images[0, :, 2:6] = 255
    images[1] = 0
    images[2] = 51
    frames = torch.tensor([[0.0, 2, 12, 6], [0, 0, 12, 8], [0, 0, 12, 8]])
    found = detector(Corner())(images, frames)
    assert found.valid.sum(1).tolist() == [2, 0, 2]
    assert found.boxes[0, :2].tolist() == [[0, 2, 12, 6], [0, 2, 2, 4]]
    assert found.labels[0, :2].tolist() == [1, 0]
    torch.testing.assert_close(found.scores[[0, 2], :2], torch.tensor([[1, 0.5], [0.2, 0.1]]))


def test_pictures_in_other_number_formats_are_the_same() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 12), dtype=torch.uint8)
    plain = detector(Corner())(images)
    with torch.autocast("cpu", torch.bfloat16):
        other = detector(Corner())(images.float() + 0.2)
    for one, two in zip(plain, other, strict=True):
        assert torch.equal(one, two)


def test_it_refuses_to_be_asked_before_it_is_fitted() -> None:
    with pytest.raises(ValueError, match=r"in 0 of 2 stages \(colours, side\)"):
        detector(Blobs(3))(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_it_has_no_operations_to_be_counted() -> None:
    with pytest.raises(ValueError, match="depends on the pictures"):
        detector(Corner())(torch.zeros(1, 3, 8, 8, dtype=torch.uint8, device="meta"))


def test_maps_of_mirror_images_are_not_averaged() -> None:
    with pytest.raises(ValueError, match="tta=flip_merged"):
        FlipAverage(detector(Corner()))  # type: ignore[arg-type]


def test_what_was_kept_is_loaded_whatever_its_names_and_shapes() -> None:
    model, other = Blobs(2), Blobs(2)
    model.keep(colours=np.arange(6.0).reshape(2, 3), side=torch.tensor(3.5))
    model.keep(side=np.array([1.5, 2.5]), more=torch.arange(3))
    model.done += 2
    wrapped, restored = detector(model), detector(other)
    restored.load_state_dict(wrapped.state_dict())
    for name, value in wrapped.state_dict().items():
        assert torch.equal(restored.state_dict()[name], value)
    assert other.array("side").tolist() == [1.5, 2.5]
    other.check_fitted()


def test_numbers_that_are_not_finite_are_not_kept() -> None:
    with pytest.raises(FloatingPointError, match=r"Blobs\.side"):
        Blobs(2).keep(side=torch.tensor(torch.inf))


def test_a_file_leaves_nothing_to_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", colours=np.zeros((2, 3)), side=np.array(16.0))
    Blobs(2, weights=str(tmp_path / "some.npz")).check_fitted()
    with torch.device("meta"):  # where every model is tried before data are read
        Blobs(2, weights=str(tmp_path / "some.npz"))


def test_draws_are_a_function_of_seed_name_and_key(tmp_path: Path) -> None:
    one, two = (work([], (), tmp_path) for _ in range(2))
    assert one.random("a", 1).random() == two.random("a", 1).random()
    assert one.random("a", 1).random() != two.random("a", 2).random()
    assert one.random("a", 1).random() != two.random("b", 1).random()


def test_the_smallest_model_learns(tmp_path: Path) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[8:24, 8:24], image[32:48, 32:48] = (250, 10, 10), (10, 10, 250)
    given = work(
        [sample(image, [[8, 8, 24, 24], [32, 32, 48, 48]], [1, 0], 0)], ("b", "r"), tmp_path
    )
    model = Blobs(2)
    told = [model.fit(stage, given) for stage in model.stages]
    model.done += 2
    assert told[0]["boxes"] == 2
    found = detector(model)(torch.from_numpy(image).permute(2, 0, 1)[None])
    both = zip(found.labels[0, :2].tolist(), found.boxes[0, :2].tolist(), strict=True)
    assert dict(both) == {1: [8, 8, 24, 24], 0: [32, 32, 48, 48]}


class Given(Fitted):
    """Finds the boxes that it is given, as they are."""

    stages = ()
    needs_proposals = True

    def fit(self, stage: str, work: object) -> dict[str, float]:
        return {}

    def scan(self, picture: np.ndarray, proposals: np.ndarray | None = None) -> Windows:
        assert proposals is not None
        assert proposals.dtype == np.float32
        n = len(proposals)
        return Windows(proposals, np.linspace(0.9, 0.5, n), np.zeros(n, int))


def test_proposals_are_those_of_the_picture_and_what_does_not_show_is_left_out() -> None:
    boxes = torch.tensor([[[3.0, 2, 7, 6], [0, 0, 12, 2], [4, 3, 8, 5]], [[0, 0, 4, 4]] * 3])
    valid = torch.tensor([[True, True, True], [True, False, False]])
    frames = torch.tensor([[0.0, 2, 12, 6], [0, 0, 12, 8]])
    images = torch.zeros(2, 3, 8, 12, dtype=torch.uint8)
    found = detector(Given())(images, frames, Proposals(boxes, valid))
    assert found.boxes[0, :2].tolist() == [[3, 2, 7, 6], [4, 3, 8, 5]]
    assert found.valid.sum(1).tolist() == [2, 1]


def test_proposals_are_given_to_those_that_look_at_them_alone() -> None:
    images = torch.zeros(1, 3, 8, 12, dtype=torch.uint8)
    given = Proposals(torch.zeros(1, 2, 4), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="this Given was fitted to proposals of a file"):
        detector(Given())(images)
    with pytest.raises(ValueError, match="this Corner looks at none of others"):
        detector(Corner())(images, None, given)


def test_it_is_asked_in_float32_whatever_the_hardware_computes_in() -> None:
    """So the log of an evaluation names no other format."""
    assert asked_in(detector(Corner()), "auto") == "32-true"
    assert asked_in(torch.nn.Linear(1, 1), "auto") == "auto"
    with pytest.raises(ValueError, match="precision=bf16-mixed: a fitted model computes"):
        asked_in(detector(Corner()), "bf16-mixed")
