"""Loss functions: pure, unreduced over the batch; callers mask, weight and reduce."""

from occface_core.losses.landmark import landmark_loss, landmark_weights, pair_distance_loss
from occface_core.losses.parameter import (
    code_mse,
    expression_asymmetry,
    normalised_code_mse,
    parameter_prior,
    uncertainty_nll,
)
from occface_core.losses.photometric import sample_at, vertex_photometric_loss
from occface_core.losses.vertex import form_distance_mm, region_rms_mm, vertex_distance_mm

__all__ = [
    "code_mse",
    "expression_asymmetry",
    "form_distance_mm",
    "landmark_loss",
    "landmark_weights",
    "normalised_code_mse",
    "pair_distance_loss",
    "parameter_prior",
    "region_rms_mm",
    "sample_at",
    "uncertainty_nll",
    "vertex_distance_mm",
    "vertex_photometric_loss",
]
