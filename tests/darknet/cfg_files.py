"""Small cfg files of darknet that tests of several files share."""

NET = "[net]\nwidth=64\nheight=64\nchannels=3\nlearning_rate=0.001\n"
ANCHORS = "anchors=4,6, 8,9, 16,20, 20,12, 30,40, 50,50"


def conv(filters: int, size: int = 3, stride: int = 1, act: str = "leaky", **keys: object) -> str:
    """A convolution with batch norm."""
    more = "".join(f"{key}={value}\n" for key, value in keys.items())
    return (
        f"[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize={size}\nstride={stride}\n"
        f"pad=1\nactivation={act}\n{more}"
    )


def last(filters: int) -> str:
    """The convolution before a detection layer."""
    return f"[convolutional]\nsize=1\nstride=1\npad=1\nfilters={filters}\nactivation=linear\n"


def pool(size: int = 2, stride: int = 2) -> str:
    return f"[maxpool]\nsize={size}\nstride={stride}\n"


def yolo(mask: str, *keys: str, classes: int = 3) -> str:
    lines = "".join(f"{key}\n" for key in keys)
    return f"[yolo]\nmask={mask}\n{ANCHORS}\nclasses={classes}\nnum=6\n{lines}"


def route(layers: str, *keys: str) -> str:
    return f"[route]\nlayers={layers}\n" + "".join(f"{key}\n" for key in keys)


TAIL = [  # of a tiny network: two levels, after five halvings and a map of 16 channels at layer 8
    conv(8, 1),  # 13
    conv(16),
    last(24),
    yolo("3,4,5"),
    route("-4"),
    conv(4, 1),
    "[upsample]\nstride=2\n",
    route("-1,8"),
    conv(8),
    last(24),
    yolo("0,1,2"),
]
# As yolov3-tiny.cfg, an eighth of its channels.
TINY = [
    NET,
    *(part for n in (2, 4, 8, 8, 16) for part in (conv(n), pool())),
    conv(16),
    pool(2, 1),
    conv(32),
    *TAIL,
]
# As yolov2-tiny.cfg with the reorg of yolov2.cfg.
REGION = [
    NET,
    *(part for n in (2, 4, 8, 8) for part in (conv(n), pool())),
    conv(16),  # 8, stride 16
    pool(),
    conv(32),  # 10
    route("-3"),
    conv(4, 1),
    "[reorg]\nstride=2\n",
    route("-1,-4"),
    conv(16),
    last(16),
    "[region]\nanchors=1.3,1.7, 3.2,4.0\nbias_match=1\nclasses=3\ncoords=4\nnum=2\nsoftmax=1\n"
    "jitter=.3\nrescore=1\nobject_scale=5\nnoobject_scale=1\nclass_scale=1\ncoord_scale=1\n"
    "absolute=1\nthresh=.6\nrandom=1\n",
]
# As yolov1/yolo.cfg: a local layer and a connected one; 4 cells of 3 + 2 * 5 numbers.
DETECTION = [
    NET,
    *(part for n in (2, 4, 4, 8, 8) for part in (conv(n), pool())),
    "[local]\nsize=3\nstride=1\npad=1\nfilters=2\nactivation=leaky\n",
    "[dropout]\nprobability=.5\n",
    "[connected]\noutput=52\nactivation=linear\n",
    "[detection]\nclasses=3\ncoords=4\nrescore=1\nside=2\nnum=2\nsoftmax=0\nsqrt=1\njitter=.2\n"
    "object_scale=1\nnoobject_scale=.5\nclass_scale=1\ncoord_scale=5\n",
]
# What newer files are made of: groups of channels, weighted shortcuts, gates, other windows.
MIXED = [
    NET + "letter_box=1\n",
    conv(8, 3, 2, "mish"),  # 0
    conv(16, 3, 2, "swish"),
    route("-1", "groups=2", "group_id=1"),
    conv(8, 3, groups=8),  # 3
    conv(8, 3),
    route("-1,-2"),
    conv(16, 1),  # 6
    "[shortcut]\nfrom=-6\nactivation=linear\nweights_type=per_feature\n"
    "weights_normalization=softmax\n",
    conv(16, 1, act="logistic"),
    "[sam]\nfrom=-2\n",  # 9
    "[avgpool]\n",
    conv(16, 1, act="logistic"),
    "[scale_channels]\nfrom=-3\n",  # 12
    "[shortcut]\nfrom=-2,6\nactivation=relu\n".replace("-2", "9"),
    "[reorg3d]\nstride=2\n",  # 14, stride 8
    conv(16, 1),
    "[local_avgpool]\nsize=3\nstride=1\n",
    "[shortcut]\nfrom=-2\nweights_type=per_channel\nweights_normalization=relu\n",  # 17
    conv(16, 3, 2),
    "[dropout]\nprobability=.1\n",
    last(24),  # 20
    yolo("3,4,5", "iou_loss=ciou", "iou_normalizer=0.07", "iou_thresh=0.213", "scale_x_y=1.05"),
    route("17"),
    conv(16),
    last(24),
    yolo("0,1,2", "iou_loss=ciou", "iou_normalizer=0.07", "iou_thresh=0.213", "scale_x_y=1.2"),
]
FILES = {
    "tiny": "\n".join(TINY),
    "region": "\n".join(REGION),
    "detection": "\n".join(DETECTION),
    "mixed": "\n".join(MIXED),
}
