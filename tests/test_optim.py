"""Groups of parameters and learning rates over a run."""

import pytest
import torch
from hydra.utils import instantiate
from torch import nn
from torch.optim import SGD

from detectors import optim
from detectors.config.compose import compose
from detectors.config.paths import CONF


class Tiny(nn.Module):
    """A backbone with one frozen layer, and a head with a learnt scale."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
        self.backbone[0].requires_grad_(False)
        self.head = nn.Conv2d(4, 2, 1)
        self.scale = nn.Parameter(torch.ones(()))


def rates(schedule: object, total_steps: int, **options: object) -> list[float]:
    """Learning rate of each step, and of the one after the last, times one."""
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedule(optimizer, total_steps, **options)
    found = []
    for _ in range(total_steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_every_trainable_parameter_is_in_one_group_and_only_weights_decay() -> None:
    module = Tiny()
    groups = optim.parameter_groups(module, lr=0.1, weight_decay=0.5, backbone_lr_factor=0.1)
    found = {
        group["name"]: (group["lr"], group["weight_decay"], group["params"]) for group in groups
    }
    norm, conv = module.backbone[1], module.backbone[2]
    expected = {
        "backbone/plain": (0.1 * 0.1, 0.0, [norm.weight, norm.bias, conv.bias]),
        "backbone/decayed": (0.1 * 0.1, 0.5, [conv.weight]),
        "rest/plain": (0.1, 0.0, [module.scale, module.head.bias]),
        "rest/decayed": (0.1, 0.5, [module.head.weight]),
    }
    assert found.keys() == expected.keys()
    for name, (lr, decay, parameters) in expected.items():
        assert found[name][:2] == (lr, decay)
        assert {id(p) for p in found[name][2]} == {id(p) for p in parameters}


def test_biases_may_learn_at_another_rate() -> None:
    module = Tiny()
    groups = {g["name"]: g for g in optim.parameter_groups(module, 0.1, 0.5, bias_lr_factor=2.0)}
    assert [id(p) for p in groups["rest/bias"]["params"]] == [id(module.head.bias)]
    assert (groups["rest/bias"]["lr"], groups["rest/bias"]["weight_decay"]) == (0.2, 0.0)
    assert groups["rest/plain"]["lr"] == groups["backbone/decayed"]["lr"] == 0.1
    assert sum(len(group["params"]) for group in groups.values()) == 7


def test_a_wholly_frozen_module_is_refused() -> None:
    with pytest.raises(ValueError, match="every parameter is frozen"):
        optim.parameter_groups(Tiny().requires_grad_(False), 0.1, 0.0)


def test_every_group_keeps_its_share_under_a_schedule() -> None:
    optimizer = optim.build_optimizer(Tiny(), SGD, lr=1.0, backbone_lr_factor=0.1)
    scheduler = optim.poly(optimizer, total_steps=4)
    optimizer.step()
    scheduler.step()
    found = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert found["rest/decayed"] == pytest.approx(0.75)
    assert found["backbone/decayed"] == pytest.approx(0.075)


def test_cosine_by_hand() -> None:
    warmup = optim.Warmup(length=2, start=0.5)
    found = rates(optim.cosine, 6, warmup=warmup, final=0.2)
    half = 0.2 + 0.8 * 0.5
    assert [found[i] for i in (0, 1, 2, 4, 6)] == pytest.approx([0.5, 0.75, 1.0, half, 0.2])


def test_cosine_may_end_before_the_run() -> None:
    """YOLOX: quadratic warm-up, half a cosine, and the final rate from there on."""
    warmup = optim.Warmup(length=2, power=2)
    found = rates(optim.cosine, 10, warmup=warmup, final=0.05, tail=0.4)
    half = 0.05 + 0.95 * 0.5
    assert [found[i] for i in (0, 1, 2, 4)] == pytest.approx([0, 0.25, 1, half])
    assert found[6:] == pytest.approx([0.05] * len(found[6:]))
    with pytest.raises(ValueError, match=r"last 9 of 10 steps .* the warm-up takes 2"):
        optim.cosine(SGD([nn.Parameter(torch.zeros(1))], lr=1.0), 10, warmup, tail=9)


def test_poly_by_hand() -> None:
    assert rates(optim.poly, 4, power=2.0) == pytest.approx([1, 9 / 16, 1 / 4, 1 / 16, 0])


@pytest.mark.parametrize("milestones", [[0.5, 0.75], [4, 6], [0.5, 6]])
def test_steps_by_hand_as_shares_or_steps(milestones: list[float]) -> None:
    found = rates(optim.step, 8, milestones=milestones, gamma=0.1)
    assert found == pytest.approx([1] * 4 + [0.1] * 2 + [0.01] * 3)


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [
        (optim.Warmup(length=4), [0, 1 / 4, 2 / 4, 3 / 4, 1, 1]),
        (optim.Warmup(length=0.5, power=4), [0, 1 / 256, 16 / 256, 81 / 256, 1, 1]),
        (optim.Warmup(length=2, start=1 / 3, power=float("inf")), [1 / 3, 1 / 3, 1, 1, 1, 1]),
        (optim.Warmup(), [1] * 6),
    ],
)
def test_warmups_by_hand(warmup: optim.Warmup, expected: list[float]) -> None:
    assert rates(optim.constant, 8, warmup=warmup)[:6] == pytest.approx(expected)


def test_what_does_not_fit_the_run_is_refused_with_a_remedy() -> None:
    with pytest.raises(ValueError, match=r"500 steps, but the run has only 100: .* longer"):
        rates(optim.cosine, 100, warmup=optim.Warmup(length=500))
    with pytest.raises(ValueError, match=r"\[60000\], but the run has 100: .* longer"):
        rates(optim.step, 100, milestones=[0.5, 60_000])


def test_a_resumed_schedule_goes_on_where_it_stopped() -> None:
    whole = rates(optim.cosine, 6)
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = optim.cosine(optimizer, 6)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    other = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    resumed = optim.cosine(other, 6)
    other.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    other.step()
    resumed.step()
    assert other.param_groups[0]["lr"] == whole[4]


@pytest.mark.parametrize("optimizer", [path.stem for path in CONF.glob("optimizer/*.yaml")])
@pytest.mark.parametrize("schedule", [path.stem for path in CONF.glob("schedule/*.yaml")])
def test_any_optimizer_goes_with_any_schedule(optimizer: str, schedule: str) -> None:
    words = [f"optimizer={optimizer}", "optimizer.lr=0.125", "optimizer.weight_decay=0.25"]
    warmup = [f"schedule={schedule}", "warmup.start=0.5", "warmup.power=inf"]
    config = compose([*words, *warmup])
    built = instantiate(config.optimizer, _convert_="all")(Tiny())
    assert {group["weight_decay"] for group in built.param_groups} == {0.0, 0.25}
    instantiate(config.schedule, _convert_="all")(built, 100)
    assert {group["lr"] for group in built.param_groups} == {0.125 / 2}


@pytest.mark.parametrize("schedule", [path.stem for path in CONF.glob("schedule/*.yaml")])
def test_every_schedule_as_configured_serves_a_run_of_two_steps(schedule: str) -> None:
    config = compose([f"schedule={schedule}"])
    assert rates(instantiate(config.schedule, _convert_="all"), 2)[0] == 1.0


def test_stages_of_the_backbone_learn_the_slower_the_further_they_are_from_the_head() -> None:
    module = Tiny()
    module.backbone[0].requires_grad_(True)
    options = {"backbone_lr_factor": 0.5, "backbone_lr_decay": 0.1}
    groups = {g["name"]: g for g in optim.parameter_groups(module, 1.0, 0.5, **options)}
    expected = {"backbone/0": 0.5 * 0.1**2, "backbone/1": 0.5 * 0.1, "rest": 1.0}
    assert {n.rpartition("/")[0] for n in groups} == expected.keys()
    assert all(g["lr"] == expected[n.rpartition("/")[0]] for n, g in groups.items())
    first = {id(p) for n in ("decayed", "plain") for p in groups[f"backbone/0/{n}"]["params"]}
    assert {id(p) for p in module.backbone[:2].parameters()} == first  # a norm belongs to its layer


def test_cosine_stands_for_the_steps_of_a_recipe_and_keeps_its_warm_up() -> None:
    config = compose(["experiment=retinanet_coco", "trick=[cosine]"])
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    factor = instantiate(config.learning_rate, _convert_="all")(optimizer, 90_500).lr_lambdas[0]
    assert factor(0) == pytest.approx(1 / 3, abs=1e-5)
    assert [factor(500), factor(45_500), factor(90_500)] == pytest.approx([1, 0.5, 0])


def test_warm_up_is_the_burn_in_of_darknet() -> None:
    config = compose(["trick=[warmup]"])
    recipe = compose(["experiment=yolov3_coco"])
    assert config.warmup == recipe.warmup


def test_rising_rates_grow_by_one_factor_and_keep_multiples() -> None:
    assert rates(optim.rising, 3, start=1e-3, end=10.0)[:3] == pytest.approx([1e-3, 0.1, 10])
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.5, 1.0)]
    optimizer = SGD(groups, lr=0.5)
    optim.rising(optimizer, 3, start=1e-3)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3, 2e-3])
