"""Entry points: `detectors COMMAND` runs `commands/COMMAND.py` with `conf/COMMAND.yaml`.

A command's module offers `main(cfg)` and is imported after its config was composed, so that help
and most mistakes are answered before torch is loaded. Files without a config are shared by them.
"""
