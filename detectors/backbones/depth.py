"""Orders the parameters of a backbone by the stage that they belong to."""

from torch import nn


def stages_of(backbone: nn.Module) -> list[list[str]]:
    """Names of the parameters of each stage, from the images on.

    A stage is a child of the backbone, in the order of their definition, or an item of a child that
    is a list, or a sequence of sequences. What has no kernels, such as a norm, belongs to the stage
    before. A backbone with a single child is what that child is.
    """
    stages: list[list[str]] = []
    for prefix, part in _parts(backbone):
        parameters = dict(part.named_parameters(prefix))
        if stages and all(parameter.ndim < 2 for parameter in parameters.values()):
            stages[-1] += parameters
        elif parameters:
            stages.append(list(parameters))
    return stages


def _parts(module: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    children = [(f"{prefix}{name}", child) for name, child in module.named_children()]
    if len(children) == 1:
        return _parts(children[0][1], f"{children[0][0]}.")
    parts = []
    for name, child in children:
        items = list(child.named_children())
        nested = items and all(isinstance(item, nn.Sequential) for _, item in items)
        if isinstance(child, nn.ModuleList) or (nested and isinstance(child, nn.Sequential)):
            parts += [(f"{name}.{index}", item) for index, item in items]
        else:
            parts.append((name, child))
    return parts
