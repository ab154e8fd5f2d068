"""What happens over time, around the steps: averaging, stopping, recording, showing."""
