"""What of a network a run trains."""

from torch import Tensor, nn

from occface_core.errors import ConfigError
from occface_core.networks.encoder import FaceEncoder


class Tensors(nn.Module):
    """A FaceEncoder that returns plain tensors: Fabric's wrapper cannot pass frozen dataclasses through."""

    def __init__(self, network: FaceEncoder, *, mask_alone: bool = False) -> None:
        super().__init__()
        self.network, self.mask_alone = network, mask_alone

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"mask": self.network.mask(image)} if self.mask_alone else self.network.tensors(image)


def freeze_but(model: FaceEncoder, name: str) -> list[nn.Module]:
    """Let only the named part of a network learn; returns the other parts, which must stay in eval mode.

    Raises:
        ConfigError: the network has no such part.
    """
    # What never learns, as the first look of a guided network, is no part to choose.
    parts = {k: v for k, v in model.named_children() if any(p.requires_grad for p in v.parameters())}
    if name not in parts:
        raise ConfigError(f"only {name!r}: the network has no such part; it has {', '.join(parts)}")
    model.requires_grad_(False)
    parts.pop(name).requires_grad_(True)
    return list(parts.values())
