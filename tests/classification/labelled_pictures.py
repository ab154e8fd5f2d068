"""Single-object crops of generated scenes, in folders by class."""

from pathlib import Path

from PIL import Image

from detectors.data.sources.scenes import Layout, Look, Scenes

CLASSES = 4


def write_crops(root: Path, train: int = 160, val: int = 40) -> Path:
    """`root/train/CLASS/*.png` and `root/val/CLASS/*.png`, one object a picture."""
    layout = Layout(side=64, num_classes=CLASSES, objects=(1, 1), sizes=(0.5, 0.8), truncation=0.0)
    for split, count in (("train", train), ("val", val)):
        scenes = Scenes(layout, Look(colour_cue=0.8), count, split=split)
        truth = scenes.annotations
        for name in truth.classes:
            (root / split / name).mkdir(parents=True, exist_ok=True)
        for index, (box, label) in enumerate(zip(truth.boxes, truth.labels, strict=True)):
            left, top, right, bottom = box.astype(int)
            crop = Image.fromarray(scenes.image(index)[top:bottom, left:right])
            crop.save(root / split / truth.classes[label] / f"{index}.png")
    return root
