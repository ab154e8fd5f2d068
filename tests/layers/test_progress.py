"""Parts that need to know the run are told, or refuse to be trained."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

import detectors
from detectors.detector import Detector
from detectors.layers.dropping import DropBlock
from detectors.layers.norm import CrossMiniBatchNorm
from detectors.layers.progress import tell, tell_counts
from detectors.structures import Progress, Targets

X = torch.randn(2, 4, 9, 9)
BOXES = torch.tensor([[[8.0, 8.0, 40.0, 48.0]]])
NO = torch.zeros(1, 1, dtype=torch.bool)
OBJECTS = Targets(BOXES, torch.zeros(1, 1).long(), ~NO, NO)


def loss(detector: Detector) -> Tensor:
    terms = detector.loss(torch.zeros(1, 3, 64, 64), OBJECTS)
    return torch.stack(list(terms.values())).sum()


def built(family: str, *words: str) -> Detector:
    torch.manual_seed(0)
    thin = ["size=small", "part.backbone.width=4", "image_size=64"]
    return detectors.build(family, [*thin, *words], num_classes=3)


@pytest.mark.parametrize("part", [DropBlock(4), CrossMiniBatchNorm(4)], ids=["drop", "norm"])
def test_a_part_that_was_never_told_refuses_to_be_trained_and_nothing_else(part: nn.Module) -> None:
    with torch.no_grad():
        part.train()(X)
    part.eval()(X)
    with pytest.raises(ValueError, match=r"was never told how .*progress\.tell\(detector"):
        part.train()(X)
    tell(part, Progress(images_seen=2, step=0, steps=10))
    part.train()(X)


def test_a_part_that_is_told_only_once_refuses_the_next_step() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3), DropBlock(4)).train()
    other = nn.Sequential(nn.Conv2d(4, 4, 3), DropBlock(4)).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(2):
        tell(network, Progress(images_seen=2, step=step, steps=10))
        tell(other, Progress(images_seen=2, step=step, steps=10))
        for _ in range(2):  # two mini-batches of one step
            network(X).sum().backward()
        optimizer.step()
        other(X)  # which the optimiser did not change
    with pytest.raises(ValueError, match=r"no more since an optimiser made a step .*each batch"):
        network(X)
    with torch.no_grad():
        network(X)
    network.eval()(X)


def test_a_loop_of_ones_own_is_told_how_to_end_the_early_loss() -> None:
    detector = built("yolov2").train()
    for parameter in detector.head.parameters():
        torch.nn.init.normal_(parameter)  # so that no box is its prior
    with pytest.raises(ValueError, match=r"YoloV2Box .* call detectors\.layers\.progress\.tell"):
        loss(detector)
    found = []
    for seen in (1, 12_799, 12_800):
        tell(detector, Progress(images_seen=seen, step=0, steps=10))
        found.append(loss(detector).item())
    assert found[0] == found[1] > found[2]


def test_weights_of_classes_want_the_numbers_of_objects() -> None:
    detector = built("yolov3", "trick=[class_weights]").train()
    with pytest.raises(ValueError, match=r"progress\.tell_counts\(detector"):
        loss(detector)
    alike = loss(detector.eval())
    tell_counts(detector, torch.tensor([1000, 1, 1]))
    loss(detector.train())
    assert loss(detector.eval()) < alike


@pytest.mark.parametrize("make", [lambda: DropBlock(4), lambda: CrossMiniBatchNorm(4)])
def test_time_goes_on_in_one_graph(make: Callable[[], nn.Module]) -> None:
    torch._dynamo.reset()
    graphs = CompileCounter()
    part = make().train()
    compiled = torch.compile(part, fullgraph=True, backend=graphs)
    for step in range(3):
        tell(part, Progress(step + 1, step, 3, mini_batch=step % 2, mini_batches=2))
        compiled(X)
    assert graphs.frame_count == 1


def test_parts_that_are_told_save_nothing_of_it_and_move_anywhere() -> None:
    part = DropBlock(4)
    assert not part.state_dict()
    tell(part.to("meta"), Progress(images_seen=1, step=0, steps=1))


@pytest.mark.parametrize(("step", "steps"), [(20, 10), (0, 0), (-1, 5)])
def test_a_step_outside_of_the_run_is_refused(step: int, steps: int) -> None:
    with pytest.raises(ValueError, match=f"found step={step} of steps={steps}: expected 0 <="):
        tell(DropBlock(4), Progress(images_seen=1, step=step, steps=steps))
