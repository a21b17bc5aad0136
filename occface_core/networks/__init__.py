"""Encoders, their optional heads, and safe checkpoints."""

from occface_core.networks.backbones import BACKBONES
from occface_core.networks.checkpoints import load_encoder, save_encoder
from occface_core.networks.deca import DecaTeacher, load_deca
from occface_core.networks.encoder import EncoderConfig, EncoderOutput, FaceEncoder

__all__ = ["BACKBONES",
    "DecaTeacher", "EncoderConfig", "EncoderOutput", "FaceEncoder", "load_deca",
    "load_encoder", "save_encoder"]
