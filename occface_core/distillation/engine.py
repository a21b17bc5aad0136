"""What a run computes with: device, precision and process group, from one configuration."""

import os

import torch
from lightning.fabric import Fabric

from occface_core.distillation.config import TrainConfig
from occface_core.errors import ConfigError


def native_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX).

    oneDNN itself reports bfloat16 on any AVX512 machine; without these instructions it emulates them, slowly.
    """
    probes = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return torch.backends.mkldnn.is_available() and any(probe() for probe in probes if probe is not None)


def fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; elsewhere it is much slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and native_bf16()


def resolve_precision(precision: str, device: torch.device, backbone: str = "") -> str:
    """Fabric's name for `precision`, with "auto" decided for the device and the network.

    Args:
        precision: one of `PRECISIONS`. device: where the network runs.
        backbone: of a network to train; empty for a network that is only run, and gains from bfloat16
            wherever the hardware has it.

    bfloat16 on GPUs that have it, and for ResNets on CPUs that have it: there ResNet-18 trains 1.6 and
    ResNet-50 2.0 times as fast. MobileNets take twice as long with it: their depthwise convolutions have no
    fast bfloat16 kernel.
    """
    if precision != "auto":
        return precision
    gains = device.type == "cuda" or not backbone or backbone.startswith("resnet")
    return "bf16-mixed" if gains and fast_bf16(device) else "32-true"


def process_counts(devices: int) -> tuple[int, int]:
    """Devices per machine and number of machines: what `torchrun` started, else `devices` on this one.

    Raises:
        ConfigError: `devices` contradicts torchrun.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()):
        return devices, 1
    local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    if devices not in (1, local):
        raise ConfigError(f"--devices {devices}, but torchrun started {local} processes here; leave it out")
    return local, world // local


def make_fabric(config: TrainConfig) -> Fabric:
    """Fabric for a run, its processes started.

    Raises:
        ConfigError: the device is not there, or contradicts torchrun.
    """
    devices, nodes = process_counts(config.devices)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda, but torch sees no CUDA GPU here; leave it out, or give cpu")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    kind = best if config.device == "auto" else config.device
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise ConfigError(f"--devices {devices}, but torch sees {torch.cuda.device_count()} GPUs here")
    precision = resolve_precision(config.precision, torch.device(kind), config.backbone)
    fabric = Fabric(accelerator=kind, devices=devices, num_nodes=nodes, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric
