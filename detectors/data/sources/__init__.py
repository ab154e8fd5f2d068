"""Readers of ground truth and pictures: COCO, Pascal VOC, YOLO, and generated scenes."""
