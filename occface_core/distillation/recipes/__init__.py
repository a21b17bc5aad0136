"""The recipes: each turns one batch into named losses; one trainer runs them all."""

from occface_core.distillation.recipes.common import Losses, Predict, Twin, exchanged, join, truth_losses
from occface_core.distillation.recipes.damior import DamiorRecipe
from occface_core.distillation.recipes.diamor import DiamorRecipe
from occface_core.distillation.recipes.focus import FocusRecipe
from occface_core.distillation.recipes.learner import LearnerRecipe
from occface_core.distillation.recipes.multiview import MultiviewRecipe
from occface_core.distillation.recipes.teacher import TeacherRecipe

Recipe = TeacherRecipe | LearnerRecipe | FocusRecipe

RECIPE_CLASSES: dict[str, type[TeacherRecipe] | type[LearnerRecipe] | type[FocusRecipe]] = {
    "teacher": TeacherRecipe,
    "learner": LearnerRecipe,
    "damior": DamiorRecipe,
    "diamor": DiamorRecipe,
    "focus": FocusRecipe,
    "multiview": MultiviewRecipe,
}

__all__ = [
    "RECIPE_CLASSES",
    "DamiorRecipe",
    "DiamorRecipe",
    "FocusRecipe",
    "LearnerRecipe",
    "Losses",
    "MultiviewRecipe",
    "Predict",
    "Recipe",
    "TeacherRecipe",
    "Twin",
    "exchanged",
    "join",
    "truth_losses",
]
