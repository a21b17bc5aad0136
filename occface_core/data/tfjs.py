"""Run small frozen convolution networks in the TensorFlow.js graph format, without TensorFlow.

The format is a `model.json` (graph and list of weights) beside binary weight files. Nothing in it is executed
or unpickled: a graph that uses an operation not listed here is refused.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from occface_core.errors import DataError

_DTYPES = {"float32": np.dtype("<f4"), "int32": np.dtype("<i4")}
Value = Tensor | tuple[int, ...]


class GraphModel(nn.Module):
    """A frozen graph as a module: images (B,3,H,W) in, the named node's output (B,C,h,w) out.

    Args:
        folder: holds `model.json` and the weight files it names.
        output: name of the node to compute; everything behind it is left out.

    Raises:
        DataError: a file is missing or damaged, the node does not exist, or an operation is unknown.
    """

    def __init__(self, folder: str | Path, output: str) -> None:
        super().__init__()
        self.source = Path(folder) / "model.json"
        try:
            described = json.loads(self.source.read_text())
            nodes = {node["name"]: node for node in described["modelTopology"]["node"] if node["op"]}
            manifest = described["weightsManifest"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(f"{self.source}: no TensorFlow.js graph: {error}") from error
        if output not in nodes:
            raise DataError(f"{self.source}: the graph has no node {output!r}")
        self.output = output
        self.nodes = _needed(nodes, output, self.source)
        unknown = sorted({n["op"] for n in self.nodes} - set(_OPERATIONS) - {"Const", "Placeholder"})
        if unknown:
            raise DataError(f"{self.source}: operations not supported here: {', '.join(unknown)}")
        weights = _read_weights(self.source.parent, manifest)
        self.names = {n["name"]: f"weight_{i}" for i, n in enumerate(self.nodes) if n["op"] == "Const"}
        for name, attribute in self.names.items():
            if name not in weights:
                raise DataError(f"{self.source}: weights of {name!r} are missing")
            self.register_buffer(attribute, weights[name])

    def forward(self, images: Tensor) -> Tensor:
        """Compute the output node for (B,3,H,W) images as the network expects them."""
        values: dict[str, Value] = {}
        for node in self.nodes:
            name = node["name"]
            if node["op"] == "Placeholder":
                values[name] = images
            elif node["op"] == "Const":
                values[name] = getattr(self, self.names[name])
            else:
                inputs = [values[_plain(i)] for i in node["input"]]
                values[name] = _OPERATIONS[node["op"]](inputs, node.get("attr", {}))
        result = values[self.output]
        assert isinstance(result, Tensor)
        return result


def _plain(name: str) -> str:
    return name.split(":")[0].lstrip("^")


def _needed(nodes: dict[str, dict], output: str, source: Path) -> list[dict]:
    """The nodes that `output` depends on, each after its inputs."""
    ordered: list[dict] = []
    seen: set[str] = set()
    stack = [(output, False)]
    while stack:
        name, ready = stack.pop()
        if name not in nodes:
            raise DataError(f"{source}: the graph refers to a node {name!r} that it does not have")
        if ready:
            ordered.append(nodes[name])
        elif name not in seen:
            seen.add(name)
            stack.append((name, True))
            stack += [(_plain(i), False) for i in nodes[name].get("input", [])]
    return ordered


def _read_weights(folder: Path, manifest: list[dict]) -> dict[str, Tensor]:
    try:
        return _parse_weights(folder, manifest)
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(f"{folder}: its weights are not described as in TensorFlow.js: {error!r}") from error


def _parse_weights(folder: Path, manifest: list[dict]) -> dict[str, Tensor]:
    weights = {}
    for group in manifest:
        try:
            blob = b"".join((folder / Path(part).name).read_bytes() for part in group["paths"])
        except OSError as error:
            raise DataError(f"{folder}: a weight file cannot be read: {error}") from error
        start = 0
        for entry in group["weights"]:
            if entry["dtype"] not in _DTYPES or "quantization" in entry:
                raise DataError(f"{folder}: weights of {entry['name']!r} are stored in an unknown way")
            dtype, count = _DTYPES[entry["dtype"]], int(np.prod(entry["shape"]))
            if start + count * dtype.itemsize > len(blob):
                raise DataError(f"{folder}: the weight files are cut short at {entry['name']!r}")
            array = np.frombuffer(blob, dtype, count, start).reshape(entry["shape"])
            weights[entry["name"]] = torch.from_numpy(array.copy())
            start += count * dtype.itemsize
    return weights


def _padded(image: Tensor, window: tuple[int, int], stride: int, attr: dict, fill: float = 0.0) -> Tensor:
    """TensorFlow's SAME padding, which puts the odd pixel behind; VALID adds nothing."""
    if base64.b64decode(attr["padding"]["s"]) != b"SAME":
        return image
    sides = []
    for size, extent in ((image.shape[3], window[1]), (image.shape[2], window[0])):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        sides += [total // 2, total - total // 2]
    return F.pad(image, sides, value=fill)


def _numbers(attr: dict, name: str) -> list[int]:
    return [int(i) for i in attr[name]["list"]["i"]]


def _convolve(inputs: list, attr: dict, *, depthwise: bool) -> Tensor:
    image, kernel = inputs[:2]
    height, width, channels, count = kernel.shape
    stride = _numbers(attr, "strides")[1]
    image = _padded(image, (height, width), stride, attr)
    if depthwise:
        kernel = kernel.permute(2, 3, 0, 1).reshape(channels * count, 1, height, width)
    else:
        kernel = kernel.permute(3, 2, 0, 1)
    bias = inputs[2] if len(inputs) > 2 else None
    result = F.conv2d(image, kernel, bias, stride, groups=channels if depthwise else 1)
    fused = attr.get("fused_ops", {}).get("list", {}).get("s", [])
    return result.relu() if base64.b64encode(b"Relu").decode() in fused else result


def _max_pool(inputs: list, attr: dict) -> Tensor:
    window, stride = _numbers(attr, "ksize")[1:3], _numbers(attr, "strides")[1]
    image = _padded(inputs[0], (window[0], window[1]), stride, attr, fill=-torch.inf)
    return F.max_pool2d(image, window, stride)


def _average_pool(inputs: list, attr: dict) -> Tensor:
    """TensorFlow leaves padding out of the mean."""
    window, stride = _numbers(attr, "ksize")[1:3], _numbers(attr, "strides")[1]
    ones = torch.ones_like(inputs[0][:1, :1])
    image, count = (_padded(x, (window[0], window[1]), stride, attr) for x in (inputs[0], ones))
    return F.avg_pool2d(image, window, stride) / F.avg_pool2d(count, window, stride)


def _by_channel(values: list) -> list[Tensor]:
    """Vectors over channels as (1,C,1,1), ready to meet images."""
    return [v.view(1, -1, 1, 1) if v.dim() == 1 else v for v in values]


def _add(inputs: list, _: dict) -> Tensor:
    first, second = _by_channel(inputs)
    return first + second


def _multiply(inputs: list, _: dict) -> Tensor:
    first, second = _by_channel(inputs)
    return first * second


def _resize(inputs: list, attr: dict) -> Tensor:
    """Bilinear with corners at pixel 0: TensorFlow's way before `half_pixel_centers`."""
    if any(attr.get(k, {}).get("b") for k in ("half_pixel_centers", "align_corners")):
        raise DataError("this graph resizes in a way that is not supported here")
    image, (height, width) = inputs[0], inputs[1]
    for axis, size in ((2, height), (3, width)):
        source = torch.arange(size, device=image.device) * (image.shape[axis] / size)
        low = source.floor().long()
        high = (low + 1).clamp(max=image.shape[axis] - 1)
        share = (source - low).to(image.dtype).view((-1, 1) if axis == 2 else (-1,))
        image = image.index_select(axis, low) * (1 - share) + image.index_select(axis, high) * share
    return image


_OPERATIONS: dict[str, Callable[[list, dict], Value]] = {
    "Conv2D": lambda inputs, attr: _convolve(inputs, attr, depthwise=False),
    "_FusedConv2D": lambda inputs, attr: _convolve(inputs, attr, depthwise=False),
    "FusedDepthwiseConv2dNative": lambda inputs, attr: _convolve(inputs, attr, depthwise=True),
    "MaxPool": _max_pool,
    "AvgPool": _average_pool,
    "Add": _add,
    "AddV2": _add,
    "Mul": _multiply,
    "ResizeBilinear": _resize,
    "Relu": lambda inputs, _: inputs[0].relu(),
    "Sigmoid": lambda inputs, _: inputs[0].sigmoid(),
    "Mean": lambda inputs, _: inputs[0].mean((2, 3), keepdim=True),
    "ConcatV2": lambda inputs, _: torch.cat(inputs[:-1], 1),
    # Sizes: only "the height and width of that image" occurs, so the slice has nothing left to choose.
    "Shape": lambda inputs, _: tuple(inputs[0].shape[2:4]),
    "StridedSlice": lambda inputs, _: inputs[0],
}
