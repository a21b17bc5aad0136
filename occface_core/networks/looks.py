"""Networks that look once, twice or three times: how one is built, and how one starts from another."""

from dataclasses import replace
from typing import TypeVar

from torch import Tensor, nn

from occface_core.networks.backbones import widened
from occface_core.networks.completing import CompletingEncoder
from occface_core.networks.encoder import EncoderConfig, FaceEncoder
from occface_core.networks.guided import GuidedEncoder

Network = TypeVar("Network", bound=nn.Module)

# What a network that completes has otherwise than one that does not, or not at all.
LINKS = ("known_code.", "judge.", "mask_head.", "sigma_head.", "sigma_scale")


def looking_first(network: Network) -> Network | FaceEncoder:
    """The first look of a guided network; any other network looks first itself."""
    looking: Network | FaceEncoder = network
    while isinstance(looking, GuidedEncoder):
        looking = looking.first
    return looking


def before_completing(network: FaceEncoder) -> FaceEncoder:
    """What looks before a completing network's last look; any other network itself."""
    return network.first if isinstance(network, CompletingEncoder) else network


def startable(source: FaceEncoder, model: FaceEncoder) -> dict[str, Tensor]:
    """State of `source` in the shapes of `model`, where the two do not look equally often.

    A guided network starts from another's second look, or from a network that is not guided, to whose first
    convolution it adds silent channels; one that completes from any of these. A network that is not guided
    starts from a guided one's first look, a guided one from what looks before a completing one.
    """
    if not isinstance(model, GuidedEncoder):
        return looking_first(source).state_dict()
    if not model.config.completes:
        source = before_completing(source)
    given = source.state_dict()
    if not isinstance(source, GuidedEncoder):
        stem = next(k for k, v in given.items() if k.startswith("backbone.") and v.ndim == 4)
        given[stem] = widened(given[stem], model.state_dict()[stem].shape[1])
    given = {k: v for k, v in given.items() if not k.startswith("first.")}
    if source.config.completes != model.config.completes:  # it would speak of another code's uncertainty
        given = {k: v for k, v in given.items() if not k.startswith(LINKS)}
    silent = {k: v for k, v in model.state_dict().items() if k.startswith(LINKS)}
    return silent | given | first_of(model)


def first_of(model: GuidedEncoder) -> dict[str, Tensor]:
    """State of a guided network's first look under its names there."""
    return {f"first.{name}": value for name, value in model.first.state_dict().items()}


def further_look(config: EncoderConfig, first: FaceEncoder, *, completes: bool = False) -> GuidedEncoder:
    """An untrained further look at what a copy of `first` sees.

    Args:
        config: of the further network alone. first: what looks before. completes: look at the completed face.

    Raises:
        ConfigError: the two do not fit each other.
    """
    bounds = first.expression_bounds
    both = replace(config, guided_by=first.config, completes=completes)
    model = make_encoder(both, expression_bounds=bounds)
    assert isinstance(model, GuidedEncoder)
    model.first.load_state_dict(first.state_dict())
    return model


def make_encoder(
    config: EncoderConfig, *, expression_bounds: tuple[float, float] | None = (0.0, 1.0)
) -> FaceEncoder:
    """An untrained network of a configuration, guided or completing where it says so."""
    kind: type[FaceEncoder] = FaceEncoder
    if config.guided_by is not None:
        kind = CompletingEncoder if config.completes else GuidedEncoder
    return kind(config, expression_bounds=expression_bounds)
