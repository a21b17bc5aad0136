"""One face seen twice: the crop and its mirror image, whose answers are averaged.

A face code says the same of a mirrored crop once it is mirrored itself: shape, albedo and expression by the
head's own symmetry, pose, camera and light by a change of sign. What a network answers to the two differs by
its error alone, so their mean is closer to the truth than either, and nothing has to be trained for it
(BENCHMARKS.md has what it brings).
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from torch import Tensor, nn

from occface_core.errors import AssetError
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import DECA_236, FaceParameters
from occface_core.networks.deca import DecaTeacher
from occface_core.networks.encoder import EncoderOutput, FaceEncoder

_PAIRED = 5e-4  # metres; vertices farther from being each other's mirror image are no pair
_ENOUGH = 0.9  # share of paired vertices that makes a head symmetric
_ODD_BANDS = (1, 4, 5)  # spherical harmonics with an odd power of x: x, xy, xz (rendering/lighting.py)


class CodeMirror(nn.Module):
    """The code of a mirrored face, an affine map of its code; the layout is `deca236`.

    Args:
        head: a head that is symmetric in x.
        albedo: of that head; None: nothing is known of albedo coefficients, and `mean` leaves them alone.

    Raises:
        AssetError: the head is not symmetric.
    """

    matrix: Tensor
    offset: Tensor

    def __init__(self, head: HeadModel, albedo: AlbedoModel | None = None) -> None:
        super().__init__()
        device = head.v_template.device
        matrix, offset = torch.eye(DECA_236.size, device=device), torch.zeros(DECA_236.size, device=device)
        s = DECA_236.slices
        pairs, paired = mirrored_vertices(head)
        if paired.float().mean() < _ENOUGH:
            raise AssetError(f"head {head.name} is not symmetric: a mirrored crop says nothing of it")
        turn = head.v_template.new_tensor([-1.0, 1.0, 1.0])[:, None]
        for group, basis in (("shape", head.shapedirs), ("exp", head.expressiondirs)):
            turned = (basis * turn)[pairs]
            matrix[s[group], s[group]] = _solve(basis[paired].flatten(0, 1), turned[paired].flatten(0, 1))
        if albedo is not None:
            mean, components = albedo.vertex_basis(head)
            own, turned = (x[:, paired].flatten(1).T for x in (components, components[:, pairs]))
            matrix[s["tex"], s["tex"]] = _solve(own, turned)
            offset[s["tex"]] = _solve(own, (mean[pairs] - mean)[paired].flatten()[:, None])[:, 0]
        signs = matrix.diagonal()
        signs[s["pose"]] = signs.new_tensor([1.0, -1.0, -1.0]).repeat(2)
        signs[s["cam"].start + 1] = -1.0
        signs[s["light"]].unflatten(0, (9, 3))[list(_ODD_BANDS)] = -1.0
        self.knows_albedo = albedo is not None
        self.register_buffer("matrix", matrix, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, code: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        return code @ self.matrix.T + self.offset

    def mean(self, code: Float[Tensor, "B N"], mirrored: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """Mean of a crop's code and of the code of its mirror image."""
        result = (code + self(mirrored)) / 2
        if not self.knows_albedo:
            result[:, DECA_236.slices["tex"]] = code[:, DECA_236.slices["tex"]]
        return result


def mirrored_vertices(head: HeadModel) -> tuple[Tensor, Bool[Tensor, "V"]]:
    """(V,) index of each vertex's mirror image in x, and whether there is one."""
    template = head.v_template.cpu().numpy()
    distance, pairs = cKDTree(template).query(template * np.array([-1, 1, 1], np.float32))
    device = head.v_template.device
    return torch.from_numpy(pairs).to(device), torch.from_numpy(distance < _PAIRED).to(device)


def _solve(basis: Float[Tensor, "N K"], values: Float[Tensor, "N M"]) -> Float[Tensor, "K M"]:
    """Coefficients that reproduce `values` best; a direction that moves nothing gets none."""
    basis, values = basis.double(), values.double()
    return (torch.linalg.pinv(basis.T @ basis, hermitian=True) @ (basis.T @ values)).float()


class MirroredEncoder(nn.Module):
    """A network that looks at every crop and at its mirror image; it takes twice the time.

    Args:
        network: whose answers are averaged.
        mirror: of its codes.
    """

    def __init__(self, network: FaceEncoder | DecaTeacher, mirror: CodeMirror) -> None:
        super().__init__()
        self.network, self.mirror = network, mirror
        self.config, self.layout = network.config, network.layout

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> EncoderOutput:
        """As `FaceEncoder.forward`, without evidence; features are those of the crop itself."""
        both, count = self.network(torch.cat([image, image.flip(-1)])), len(image)
        own, turned = both.code[:count], both.code[count:]
        code = self.mirror.mean(own, turned)
        usable = (own.isfinite() & turned.isfinite()).all(dim=1, keepdim=True)
        code = torch.where(usable, code, own)  # NaN in one place would spread to all
        bounds = getattr(self.network, "expression_bounds", None)
        if bounds is not None:  # the head's symmetry is exact to rounding only
            part = self.layout.slices["exp"]
            code[:, part] = code[:, part].clamp(*bounds)
        mask, sigma = both.mask_logits, both.log_sigma
        return EncoderOutput(
            FaceParameters.from_code(code, self.layout),
            code,
            both.features[:count],
            None if mask is None else (mask[:count] + mask[count:].flip(-1)) / 2,
            None if sigma is None else (sigma[:count] + sigma[count:]) / 2,
        )


AnyEncoder = FaceEncoder | MirroredEncoder


def look_twice(networks: Mapping[str, FaceEncoder], device: str = "cpu") -> dict[str, AnyEncoder]:
    """Networks of the shipped head, looking at every crop and its mirror image."""
    mirror = CodeMirror(HeadModel.load(), AlbedoModel.load()).to(device)
    return {name: MirroredEncoder(network, mirror).eval() for name, network in networks.items()}
