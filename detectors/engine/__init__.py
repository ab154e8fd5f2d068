"""The work that commands share: building, training, evaluating, and the files of a run."""
