"""Small networks in the TensorFlow.js format, a face parser of one layer among them."""

import base64
import json
from pathlib import Path

import numpy as np

from occface_core.data.parsing import CLASSES, LOGITS

SAME = {"s": base64.b64encode(b"SAME").decode()}


def ints(*values: int) -> dict:
    return {"list": {"i": [str(v) for v in values]}}


def node(op: str, name: str, *inputs: str, **attr: object) -> dict:
    return {"op": op, "name": name, "input": list(inputs), "attr": attr}


def write_graph(folder: Path, nodes: list[dict], weights: dict[str, np.ndarray]) -> Path:
    entries = [
        {"name": k, "shape": list(v.shape), "dtype": "float32" if v.dtype.kind == "f" else "int32"}
        for k, v in weights.items()
    ]
    nodes = [node("Placeholder", "image"), *(node("Const", k) for k in weights), *nodes]
    folder.mkdir(parents=True, exist_ok=True)
    manifest = [{"paths": ["weights.bin"], "weights": entries}]
    (folder / "model.json").write_text(
        json.dumps({"modelTopology": {"node": nodes}, "weightsManifest": manifest})
    )
    blob = b"".join(v.astype("<f4" if v.dtype.kind == "f" else "<i4").tobytes() for v in weights.values())
    (folder / "weights.bin").write_bytes(blob)
    return folder


def write_red_is_hair(folder: Path) -> Path:
    """A parser of one layer: what is red is hair, all else skin."""
    kernel = np.zeros((1, 1, 3, len(CLASSES)), np.float32)
    kernel[0, 0, :, CLASSES.index("hair")] = (60, -30, -30)
    bias = np.full(len(CLASSES), -90.0, np.float32)
    bias[CLASSES.index("skin")] = 30.0
    bias[CLASSES.index("hair")] = 0.0
    attr = {"padding": SAME, "strides": ints(1, 1, 1, 1)}
    nodes = [node("_FusedConv2D", LOGITS, "image", "k", "b", **attr)]
    return write_graph(folder, nodes, {"k": kernel, "b": bias})
