"""The loss terms each recipe may produce, and a weight for any of them.

A weight multiplies a term on top of the recipe's own; 0 switches it off. That is how ablations take a term
out of a recipe without another copy of it.
"""

from occface_core.errors import ConfigError

_PRIORS = ("prior_shape", "prior_albedo", "prior_expression", "prior_jaw", "prior_light")
_EVIDENCE = ("evidence", "heat", "fused")
_FITTING = ("landmark", "eyes", "lips", "photometric", "mask", *_EVIDENCE, *_PRIORS)
_TRUTH = ("truth_shape", "truth_form", "truth_posed", "truth_albedo", "truth_light")
_DAMIOR = (
    *("code", "shape", "posed", "landmark", "points", "eyes", "lips"),
    *("texture", "photometric", "mask", "sigma", *_EVIDENCE),
    *_TRUTH,
)
# Kept by hand, so that a wrong name is refused before anything is loaded; a test compares it with them.
TERMS: dict[str, tuple[str, ...]] = {
    "teacher": (*_FITTING, "prior_sides", *_TRUTH, "kept_shape", "kept_posed", "kept_albedo"),
    "learner": ("code", "mask"),
    "damior": _DAMIOR,
    "diamor": (*_DAMIOR, "agree_shape", "agree_albedo", "damior_shape"),
    "focus": (*_FITTING, "e_unexplained", "e_area", "e_preserve", "e_binary"),
    "multiview": (*_FITTING, "prior_sides", "view_pixels", "view_depth", "view_epipolar"),
}


def parse_weights(text: str, recipe: str) -> dict[str, float]:
    """`"shape=0,posed=2"` as a dictionary; an empty text is no change.

    Raises:
        ConfigError: a term the recipe does not have, or a weight that is no number of at least 0.
    """
    weights: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, separator, value = (part.strip() for part in item.partition("="))
        if not separator:
            raise ConfigError(f"loss_weights: {item!r} is not of the form term=weight, for example shape=0")
        if name not in TERMS[recipe]:
            raise ConfigError(
                f"loss_weights: {recipe} has no term {name!r}; it has {', '.join(TERMS[recipe])}"
            )
        try:
            weights[name] = float(value)
        except ValueError as error:
            raise ConfigError(f"loss_weights: {value!r} for {name} is not a number") from error
        if not 0.0 <= weights[name] < float("inf"):
            raise ConfigError(f"loss_weights: {name}={value} must be at least 0 and finite")
    return weights
