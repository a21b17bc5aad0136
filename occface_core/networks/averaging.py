"""The mean of several networks' weights: better than each where they come from one start.

Runs that leave one network with different seeds stay in one valley of the loss, whose middle is lower
(Wortsman et al., "Model soups", ICML 2022). docs/networks.md says what it brought the shipped student.
"""

from collections.abc import Mapping

import torch

from occface_core.errors import CheckpointError, ConfigError
from occface_core.networks.encoder import FaceEncoder
from occface_core.networks.looks import make_encoder


def average_encoders(networks: Mapping[str, FaceEncoder]) -> FaceEncoder:
    """A network whose tensors are the means of the others'; counters are the first one's.

    The scale of the uncertainty is averaged as well, but what it should be only a measurement tells
    (`benchmark sigma`).

    Args:
        networks: name -> network, two or more of one configuration. Names are for messages.

    Raises:
        ConfigError: fewer than two networks.
        CheckpointError: two of them are built differently; the message names both and the first difference.
    """
    if len(networks) < 2:
        raise ConfigError(f"{len(networks)} network to average; give at least two")
    (first_name, first), *others = networks.items()
    config = first.config.to_dict()
    for name, other in others:
        for key, theirs in other.config.to_dict().items():
            if theirs != config[key]:
                raise CheckpointError(
                    f"{first_name} and {name} cannot be averaged: {key} is {config[key]!r} in one and "
                    f"{theirs!r} in the other"
                )
    states = [network.state_dict() for network in networks.values()]
    mean = make_encoder(first.config, expression_bounds=first.expression_bounds)
    mean.load_state_dict(
        {
            name: torch.stack([state[name].float() for state in states]).mean(0)
            if value.is_floating_point()
            else value
            for name, value in states[0].items()
        }
    )
    return mean.eval()
