"""From files or generated scenes to batches."""
