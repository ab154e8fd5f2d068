"""COCO's average precision and recall, by one matching for evaluations, studies and reports."""
