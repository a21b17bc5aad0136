"""Face codes: named layouts, and the parameters a code stands for.

Letters: B batch, S shape, E expression, T albedo components.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.errors import LayoutError


@dataclass(frozen=True)
class CodeLayout:
    """How a flat code vector is cut into named groups.

    Attributes:
        name: Layout name, as in `layout(name)`.
        groups: (group name, number of values), in code order.
        model: The face model and camera the numbers belong to. Codes of different models share no basis, so
            they cannot be converted, only compared as meshes.
    """

    name: str
    groups: tuple[tuple[str, int], ...]
    model: str = ""

    @cached_property
    def size(self) -> int:
        """Number of values in one code."""
        return sum(width for _, width in self.groups)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Group name -> its slice of the last axis."""
        result, start = {}, 0
        for name, width in self.groups:
            result[name] = slice(start, start + width)
            start += width
        return result

    def split(self, code: Float[Tensor, "*batch N"]) -> dict[str, Tensor]:
        """Cut a code into its groups (views).

        Raises:
            LayoutError: The last axis is not `size` long.
        """
        if code.shape[-1] != self.size:
            raise LayoutError(f"a {self.name} code has {self.size} values, this one has {code.shape[-1]}")
        return {name: code[..., part] for name, part in self.slices.items()}


_DECA_GROUPS = (("shape", 100), ("tex", 50), ("exp", 50), ("pose", 6), ("cam", 3), ("light", 27))
_FLAME = "FLAME-format head, weak-perspective camera, 9 SH bands per RGB channel (band-major)"

DECA_236 = CodeLayout("deca236", _DECA_GROUPS, _FLAME)
DECA_364 = CodeLayout("deca364", (*_DECA_GROUPS, ("detail", 128)), _FLAME)
DENG_257 = CodeLayout(
    "deng257",
    (("shape", 80), ("exp", 64), ("tex", 80), ("angle", 3), ("light", 27), ("trans", 3)),
    "BFM09, focal 1015 camera at distance 10, light channel-major with 0.8 added to its first band",
)
MGCNET_257 = CodeLayout(
    "mgcnet257",
    (("shape", 80), ("tex", 80), ("exp", 64), ("pose", 6), ("light", 27)),
    "BFM09, focal 4700 camera, pose added to a default pose",
)
_LAYOUTS = {item.name: item for item in (DECA_236, DECA_364, DENG_257, MGCNET_257)}


def layout(name: str) -> CodeLayout:
    """A layout by name: "deca236" (default everywhere), "deca364", "deng257" or "mgcnet257".

    Raises:
        LayoutError: No layout has this name.
    """
    if name not in _LAYOUTS:
        raise LayoutError(f"no code layout is called {name!r}; there are {', '.join(_LAYOUTS)}")
    return _LAYOUTS[name]


def convert(
    code: Float[Tensor, "*batch N"], source: CodeLayout, target: CodeLayout
) -> Float[Tensor, "*batch M"]:
    """Rewrite a code in another layout of the same face model.

    Raises:
        LayoutError: The code does not fit `source`, the layouts belong to different face models or cameras,
            or `target` wants a group that `source` does not have. The message says which.
    """
    groups = source.split(code)
    if source.model != target.model:
        raise LayoutError(
            f"{source.name} cannot become {target.name}: the first means {source.model}; the second "
            f"{target.model}. Decode both to meshes and compare or fit those"
        )
    for name, width in target.groups:
        if name not in groups or groups[name].shape[-1] != width:
            raise LayoutError(
                f"{source.name} cannot become {target.name}: it has no group {name!r} of {width} values"
            )
    return torch.cat([groups[name] for name, _ in target.groups], dim=-1)


@dataclass(frozen=True)
class FaceParameters:
    """Everything that is needed to draw a batch of faces.

    Attributes:
        betas: (B,S) shape coefficients, about N(0,1).
        albedo: (B,T) albedo coefficients, about N(0,1).
        expression: (B,E) expression coefficients; activations in [0,1] on the open head.
        pose: (B,6) global and jaw rotation, axis-angle, radians.
        camera: (B,3) weak-perspective scale, x and y translation: image = s * (point + t), image in [-1,1].
        sh_coeffs: (B,9,3) spherical-harmonics light, [band, RGB].
    """

    betas: Float[Tensor, "B S"]
    albedo: Float[Tensor, "B T"]
    expression: Float[Tensor, "B E"]
    pose: Float[Tensor, "B 6"]
    camera: Float[Tensor, "B 3"]
    sh_coeffs: Float[Tensor, "B 9 3"]

    @classmethod
    def from_code(cls, code: Float[Tensor, "B N"], code_layout: CodeLayout = DECA_236) -> "FaceParameters":
        """Read a code. Views of `code`, so gradients flow.

        Raises:
            LayoutError: The code has the wrong length or belongs to another face model.
        """
        _require_flame(code_layout)
        part = code_layout.split(code)
        return cls(
            betas=part["shape"],
            albedo=part["tex"],
            expression=part["exp"],
            pose=part["pose"],
            camera=part["cam"],
            sh_coeffs=part["light"].unflatten(-1, (9, 3)),
        )

    def to_code(self, code_layout: CodeLayout = DECA_236) -> Float[Tensor, "B N"]:
        """The flat code in the given layout; the inverse of `from_code`.

        Raises:
            LayoutError: A group has another width in that layout, or the layout belongs to another model.
        """
        _require_flame(code_layout)
        groups = {
            "shape": self.betas,
            "tex": self.albedo,
            "exp": self.expression,
            "pose": self.pose,
            "cam": self.camera,
            "light": self.sh_coeffs.flatten(-2),
        }
        for name, width in code_layout.groups:
            held = groups[name].shape[-1] if name in groups else 0
            if held != width:
                raise LayoutError(
                    f"layout {code_layout.name} wants {width} values of {name!r}, these hold {held}"
                )
        return torch.cat([groups[name] for name, _ in code_layout.groups], dim=-1)

    def replace(self, **changes: Tensor) -> "FaceParameters":
        """A copy with some fields exchanged."""
        return dataclasses.replace(self, **changes)

    def detach(self) -> "FaceParameters":
        """The same values, cut from the graph."""
        return self._map(Tensor.detach)

    def to(self, device: torch.device | str) -> "FaceParameters":
        """The same values on another device."""
        return self._map(lambda value: value.to(device))

    def index(self, i: int | slice | Tensor) -> "FaceParameters":
        """Part of the batch; an integer keeps a batch of one."""
        if isinstance(i, int):
            i = slice(i, i + 1) if i != -1 else slice(-1, None)
        return self._map(lambda value: value[i])

    def __len__(self) -> int:
        return self.betas.shape[0]

    def _map(self, function: Callable[[Tensor], Tensor]) -> "FaceParameters":
        fields = {field.name: function(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return FaceParameters(**fields)


def _require_flame(code_layout: CodeLayout) -> None:
    if code_layout.model != _FLAME:
        raise LayoutError(
            f"{code_layout.name} codes belong to another face model ({code_layout.model}); "
            "FaceParameters hold a FLAME-format head"
        )
