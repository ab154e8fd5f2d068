"""Weights from elsewhere: torchvision, darknet, and backbones of `detectors pretrain`."""
