"""Who takes part in the occlusion benchmark: shipped networks, network files, npz files of other models."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from occface_core.assets import sha256
from occface_core.errors import ConfigError
from occface_core.evaluation.external import External
from occface_core.evaluation.external_file import Problem
from occface_core.evaluation.predictions import Network, Predictor
from occface_core.evaluation.twins import EvaluationTwins
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.checkpoints import load_encoder
from occface_core.networks.identity import network_digest
from occface_core.networks.mirrored import AnyEncoder, look_twice


def parse_source(text: str) -> tuple[str, str]:
    """`NAME`, `FILE` or `NAME=FILE` to (name, shipped name or file).

    Raises:
        ConfigError: a part is empty.
    """
    name, equals, source = text.partition("=")
    if not name or (equals and not source):
        raise ConfigError(f"{text!r} must be NAME, FILE or NAME=FILE")
    if equals:
        return name, source
    return (Path(name).stem if name.endswith((".npz", ".safetensors")) else name), name


@dataclass
class Participants:
    """Everybody by name, what they are made of, and what is wrong with the predictions of some.

    Attributes:
        models: name -> participant.
        digests: name -> hash of its weights or predictions.
        problems: name -> (photo, what).
        unusable: name -> photos that cannot be measured.
    """

    models: dict[str, Predictor] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    problems: dict[str, list[Problem]] = field(default_factory=dict)
    unusable: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        sources: Mapping[str, str],
        networks: Mapping[str, AnyEncoder],
        twins: EvaluationTwins,
        head: HeadModel,
        albedo: AlbedoModel,
    ) -> "Participants":
        """Everybody in `sources` (name -> shipped name or file), networks as `load_networks` gave them.

        Raises:
            DataError: a file of predictions does not fit (see `External`).
        """
        result = cls()
        for name, source in sources.items():
            if name in networks:
                result.models[name] = Network(networks[name], head, albedo)
                result.digests[name] = network_digest(networks[name])
                continue
            path = Path(source)
            model = External(path, twins, head)
            result.models[name], result.digests[name] = model, sha256(path)
            result.problems[name], result.unusable[name] = model.problems, model.unusable
        return result


def gather(texts: Iterable[str]) -> dict[str, str]:
    """Name -> source of every different participant on the command line.

    Raises:
        ConfigError: one name stands for two sources.
    """
    sources: dict[str, str] = {}
    for name, source in map(parse_source, texts):
        if sources.setdefault(name, source) != source:
            raise ConfigError(f"{name!r} stands for {sources[name]} and {source}; name them NAME=FILE")
    return sources


def load_networks(sources: dict[str, str], device: str, *, mirrored: bool = False) -> dict[str, AnyEncoder]:
    """The networks among the sources; `mirrored` ones look at every picture both ways."""
    networks = {
        name: load_encoder(source, device) for name, source in sources.items() if not source.endswith(".npz")
    }
    return look_twice(networks, device) if mirrored else dict(networks)
