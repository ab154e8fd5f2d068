"""What a cfg file asks for and we lack is refused with its line."""

from pathlib import Path

import pytest

import detectors
from detectors.darknet.plan import planned
from detectors.darknet.sections import compact, parsed, unused_keys
from tests.darknet.cfg_files import FILES, NET, REGION, conv, last, pool, route, yolo

HALVED = [conv(4, 3, 2), conv(4, 3, 2)]  # before a head of stride 4


def file(*sections: str) -> str:
    return "".join([NET, *sections])


def headed(*sections: str) -> str:
    """A file whose network ends with a head of all anchors."""
    return file(*HALVED, *sections, last(48), yolo("0,1,2,3,4,5"))


def line_of(text: str, start: str) -> int:
    """The number of the last line that starts so."""
    return max(n for n, line in enumerate(text.splitlines(), 1) if line.startswith(start))


@pytest.mark.parametrize(
    ("sections", "at", "told"),
    [
        (["[crop]\n"], "[crop]", "[crop] is not supported. Supported: net, convolutional"),
        (["[Gaussian_yolo]\n"], "[Gaussian", "[Gaussian_yolo] is not supported"),
        (["[net]\nwidth=8\n"], "[net]", "[net]: expected one [net], first"),
        (["[avgpool]\nsize=2\n"], "size=2", "[avgpool] size=2: there is no such key"),
        ([conv(4, dropblok=1)], "dropblok", "no such key here. Supported: stride"),
        ([conv(4, antialiasing=1)], "antialiasing", "expected 0"),
        ([conv(4, stopbackward=800)], "stopbackward", "trick=[freeze_backbone]"),
        ([conv(4, act="leakey")], "activation=leakey", "one of linear, leaky, mish"),
        ([conv(4, groups=3)], "groups=3", "4 channels nor filters=4"),
        ([conv(4, filter=3)], "filter=3", "no such key"),
        (["[convolutional]\nfilters=4\nfilters=8\n"], "filters=8", "filters stands in line"),
        (["[convolutional]\nbatch_normalize=2\n"], "batch_normalize=2", "norm=cmbn"),
        (["[convolutional]\nsize 3\n"], "size 3", "expected [SECTION] and below it KEY=VALUE"),
        (["[convolutional]\nfilters=4#8\n"], "filters=4#8", "expected a whole number from 1 on"),
        (["[convolutional]\nsize=3\ndilation=2\n"], "dilation=2", "expected pad=1"),
        (["[convolutional]\nsize=99\n"], "size=99", "do not fit into 16 x 16 x 4"),
        (["[maxpool]\nsize=2\nmaxpool_depth=1\n"], "maxpool_depth", "expected 0"),
        (["[upsample]\nstride=-2\n"], "stride=-2", "a whole number from 1 on"),
        ([route("9")], "layers=9", "this is layer 2; expected layers before it"),
        ([route("-3")], "layers=-3", "this is layer 2"),
        ([route("-1,-2")], "layers=-1,-2", "joins 16 x 16 x 4 and 32 x 32 x 4"),
        ([route("-1", "groups=3")], "groups=3", "group 0 of 3, of 4 channels"),
        (["[route]\n"], "[route]", "says no layers"),
        (["[shortcut]\nfrom=-2\n"], "from=-2", "joins 16 x 16 x 4 and 32 x 32 x 4"),
        (["[shortcut]\nfrom=-1\nweights_type=per_pixel\n"], "weights_type", "per_channel"),
        (["[shortcut]\nfrom=-1\nweights_normalization=relu\n"], "weights_norm", "weights_type"),
        (["[scale_channels]\nfrom=-1\n"], "from=-1", "expected 1 x 1 x 4"),
        (["[reorg]\nstride=3\n"], "stride=3", "does not divide 16 x 16 x 4"),
        (["[dropout]\ndropblock=1\n"], "dropblock", "expected 0"),
        (["[connected]\noutput=8\n"], "[convolutional]", "reads a vector"),
        (["[local]\nsize=5\n"], "size=5", "expected 3"),
    ],
)
def test_a_layer_is_refused_with_its_line(sections: list[str], at: str, told: str) -> None:
    text = headed(*sections)
    with pytest.raises(ValueError, match="line") as refusal:
        planned(text)
    assert str(refusal.value).startswith(f"line {line_of(text, at)} of the cfg file: ")
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        (file(*HALVED), "[net]", "has no detection layer"),
        (headed().replace("height=64", "angle=0"), "[net]", "says no height"),
        (headed().replace("channels=3", "channels=1"), "channels=1", "pictures have three"),
        (headed().replace("channels=3\n", ""), "[net]", "darknet's default. Expected 3"),
        (conv(4), "[convolutional]", "expected one [net], first"),
        (file(*HALVED, conv(48), yolo("0")), "[yolo]", "of activation=leaky"),
        (file(*HALVED, last(48), pool(), yolo("0")), "[yolo]", "reads [maxpool]"),
        (file(last(48), yolo("0")), "[yolo]", "has no layer before its last one"),
        (headed(last(8), yolo("0"), route("-2")), "[route]", "belongs to a detection layer"),
        (file(conv(4).replace("pad=1", "pad=0"), last(8), yolo("0")), "[yolo]", "do not cover"),
        (file(conv(4, 3, 3), last(8), yolo("0")), "[yolo]", "do not cover 64 x 64 pixels"),
        (file(*HALVED, last(8), REGION[-1], route("1"), last(8), yolo("0")), "[yolo]", "in line"),
        (headed(last(8), yolo("0", "iou_thresh=.3"), route("1")), "[yolo]", "one for all levels"),
    ],
)
def test_a_network_is_refused_with_its_line(text: str, at: str, told: str) -> None:
    with pytest.raises(ValueError, match="line") as refusal:
        planned(text)
    assert str(refusal.value).startswith(f"line {line_of(text, at)} of the cfg file: ")
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("new_coords=1", "expected 0"),
        ("focal_loss=1", "expected 0"),
        ("objectness_smooth=1", "expected 0"),
        ("truth_thresh=.9", "expected 1"),
        ("cls_normalizer=.5", "counters_per_class alone"),
        ("counters_per_class=5,6,7", "trick=[class_weights]"),
        ("iou_thresh_kind=giou", "expected one of iou"),
        ("nms_kind=cornersnms", "one of default, greedynms, diounms"),
        ("map=9k.map", "no such key"),
        ("iou_loss=giou", "write iou_loss=ciou or mse, or choose box_loss=giou"),
        ("scale_x_y=1.1", "is not supported beside iou_loss=mse"),
        ("ignore_thresh=1.5", "a number in [0, 1]"),
        ("filters=47", "expected filters=48"),
    ],
)
def test_a_head_is_refused_with_its_line(key: str, told: str, tmp_path: Path) -> None:
    text = file(*HALVED, last(48), yolo("0,1,2,3,4,5", key))
    if key.startswith("filters"):
        text = file(*HALVED, last(47), yolo("0,1,2,3,4,5"))
    path = tmp_path / "a.cfg"
    path.write_text(text)
    with pytest.raises(ValueError, match="line") as refusal:
        detectors.build("darknet", [f"part.cfg={path}"])
    assert f"line {line_of(text, key)} of the cfg file: " in str(refusal.value)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("region", "softmax=1", "softmax=0", "classes exclude each other"),
        ("region", "rescore=1\n", "", "darknet's default. Expected 1"),
        ("region", "anchors=1.3,1.7, 3.2,4.0", "anchors=1.3,1.7,3.2", "expected 4 numbers above 0"),
        ("detection", "sqrt=1", "sqrt=0", "roots of the sides"),
        ("detection", "side=2", "side=3", "9 * (3 + 2 * 5): expected output=117"),
        ("tiny", "mask=3,4,5", "mask=3,4,6", "different numbers below num=6"),
    ],
)
def test_other_heads_are_refused(name: str, old: str, new: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_text(FILES[name].replace(old, new))
    with pytest.raises(ValueError, match="line") as refusal:
        detectors.build("darknet", [f"part.cfg={path}"])
    assert told in str(refusal.value)


def test_a_file_that_is_missing_or_not_named_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.cfg: no such file"):
        detectors.build("darknet", [f"part.cfg={tmp_path / 'a.cfg'}"])
    with pytest.raises(ValueError, match=r"say part\.cfg=FILE"):
        detectors.build("darknet")


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_text(FILES["tiny"])
    with pytest.raises(ValueError, match=r"classes=3: num_classes=4: leave num_classes out"):
        detectors.build("darknet", [f"part.cfg={path}"], num_classes=4)


def test_comments_and_blanks_mean_nothing_and_lines_keep_their_numbers() -> None:
    text = "# a\n[net] \n width = 64\n; b\n\nheight=64\nchannels=3\n[ conv ]\n"
    assert compact(text) == "2:[net]|3:width=64|6:height=64|7:channels=3|8:[conv]"
    assert parsed(compact(text)) == parsed(text)
    net, layer = parsed(text)
    assert (net["width"], net.lines["height"], layer.name, layer.line) == (
        64,
        6,
        "convolutional",
        8,
    )


def test_keys_of_darknets_own_training_are_listed() -> None:
    found = unused_keys(parsed(FILES["region"]))
    assert found == {"net": ["learning_rate"], "region": ["jitter", "absolute", "random"]}
