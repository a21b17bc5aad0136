import numpy as np
import torch

from occface_core.rendering.lighting import SH_FACTORS, sh_basis, sh_shading


def test_shading_agrees_with_the_reference(shared_dir):
    with np.load(shared_dir / "refs/camera_sh_normals.npz") as data:
        keys = ("sh_normals", "sh_coeff", "sh_shading", "sh_constant_factor")
        normals, coeffs, expected, factors = (torch.from_numpy(data[k]) for k in keys)
    found = sh_shading(normals.permute(0, 2, 3, 1), coeffs).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.tensor(SH_FACTORS), factors, atol=1e-6, rtol=0)


def test_bands_are_orthogonal_over_the_sphere(generator):
    normals = torch.nn.functional.normalize(torch.randn(200_000, 3, generator=generator), dim=-1)
    basis = sh_basis(normals)
    gram = basis.T @ basis / len(normals)
    scale = gram.diagonal().sqrt()
    torch.testing.assert_close(gram / scale / scale[:, None], torch.eye(9), atol=0.02, rtol=0)


def test_constant_band_lights_all_sides_alike(generator):
    normals = torch.nn.functional.normalize(torch.randn(1, 7, 3, generator=generator), dim=-1)
    coeffs = torch.zeros(1, 9, 3)
    coeffs[:, 0] = 1 / SH_FACTORS[0]
    torch.testing.assert_close(sh_shading(normals, coeffs), torch.ones(1, 7, 3))
