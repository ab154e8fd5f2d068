"""What a cfg file of darknet says, read without torch: sections, and the network they describe."""
