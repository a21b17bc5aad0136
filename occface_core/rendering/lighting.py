"""Second-order spherical-harmonics lighting (Ramamoorthi and Hanrahan, SIGGRAPH 2001)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# Real spherical harmonics times the Lambertian kernel's band factors pi, 2pi/3, pi/4, in DECA's scaling
# (its constant band lacks the factor pi). Same order as the bands of `sh_basis`.
SH_FACTORS: tuple[float, ...] = (
    1 / math.sqrt(4 * math.pi),
    *[(2 * math.pi / 3) * math.sqrt(3 / (4 * math.pi))] * 3,
    *[(math.pi / 4) * 3 * math.sqrt(5 / (12 * math.pi))] * 3,
    (math.pi / 4) * (3 / 2) * math.sqrt(5 / (12 * math.pi)),
    (math.pi / 4) * (1 / 2) * math.sqrt(5 / (4 * math.pi)),
)


def sh_basis(normals: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """Scaled basis 1, x, y, z, xy, xz, yz, x^2-y^2, 3z^2-1 at unit normals, in DECA's order and scale."""
    x, y, z = normals.unbind(-1)
    bands = [torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1]
    factors = torch.tensor(SH_FACTORS, dtype=normals.dtype, device=normals.device)
    return torch.stack(bands, -1) * factors


def sh_shading(
    normals: Float[Tensor, "B *batch 3"], sh_coeffs: Float[Tensor, "B 9 3"]
) -> Float[Tensor, "B *batch 3"]:
    """Light arriving at surfaces with these normals, to be multiplied with the albedo.

    Args:
        normals: unit normals in world coordinates (x left, y up, z out of the face).
        sh_coeffs: coefficient of each band for red, green, blue.

    Returns:
        RGB shading, unbounded.
    """
    flat = sh_basis(normals).flatten(1, -2)
    return (flat @ sh_coeffs).unflatten(1, normals.shape[1:-1])


def turn_light(light: Float[Tensor, "B 9 3"], rotation: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 9 3"]:
    """Light that shades turned normals as `light` shades them before; bands turn among themselves: exact."""
    count = 64  # directions, evenly over the sphere (Fibonacci lattice): more than the nine unknowns
    place = torch.arange(count, dtype=torch.float64, device=light.device) + 0.5
    height, angle = 1 - 2 * place / count, place * math.pi * (1 + math.sqrt(5))
    radius = (1 - height.square()).sqrt()
    normals = torch.stack([radius * angle.cos(), radius * angle.sin(), height], -1)
    inverse = torch.linalg.pinv(sh_basis(normals))
    back = sh_basis(normals @ rotation.double())  # rows n^T R are R^T n: where each normal came from
    return (inverse @ back @ light.double()).to(light.dtype)
