"""The irrational families for a whole batch: arbitrary pixels in arbitrary shapes."""

from occface_core.occlusion.batched import fills
from occface_core.occlusion.batched.group import Group, Layer
from occface_core.occlusion.batched.shapes import patches, shape_alpha, single, stripe_alpha


def noise_patch(group: Group) -> Layer:
    """One to five rectangles or ellipses of arbitrary pixel values."""
    return Layer(fills.noise(group), shape_alpha(group, patches(group.draws, 5)))


def random_shape(group: Group) -> Layer:
    """A closed random curve filled with a random texture."""
    return Layer(fills.texture(group), shape_alpha(group, single(group.draws, (0.0, 0.0, 1.0))))


def stripes(group: Group) -> Layer:
    """Parallel bars over the whole picture."""
    return Layer(fills.texture(group), stripe_alpha(group))


def blur(group: Group) -> Layer:
    """A region blurred or pixelated beyond recognition; it counts as hidden."""
    third = 1.0 / 3.0
    return Layer(fills.coarse_picture(group), shape_alpha(group, single(group.draws, (third, third, third))))


def other_image(group: Group) -> Layer:
    """A random shape showing a piece of another picture, or of this one turned over."""
    return Layer(fills.piece(group), shape_alpha(group, single(group.draws, (0.3, 0.0, 0.7))))


IRRATIONAL = {
    "noise_patch": noise_patch,
    "random_shape": random_shape,
    "stripes": stripes,
    "blur": blur,
    "other_image": other_image,
}
