"""The blocks from which backbones, necks and heads are built."""
