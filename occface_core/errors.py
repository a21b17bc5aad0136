"""Typed errors. Every message names the offending file or value and says what to do about it."""


class OccFaceError(Exception):
    """Base class of every error this package raises on purpose."""


class ImageError(OccFaceError):
    """A file is not a readable image, or an image cannot be used (size, type, values)."""


class NoFaceError(OccFaceError):
    """No face was found in an image. Give a box, or a photo where the face is larger."""


class BoxError(OccFaceError):
    """A face box is malformed, empty or outside its image."""


class AssetError(OccFaceError):
    """A shipped or imported asset is missing, damaged or of the wrong shape."""


class CheckpointError(AssetError):
    """A network checkpoint is missing, damaged, or belongs to another recipe, backbone or layout."""


class LayoutError(OccFaceError):
    """A face code does not fit the named layout, or two layouts cannot be converted."""


class MeshError(OccFaceError):
    """A mesh file or mesh array is malformed."""


class ConfigError(OccFaceError):
    """A training, evaluation or benchmark setting is out of range or contradicts another."""


class DataError(OccFaceError):
    """A dataset folder, shard or annotation file is missing, empty or malformed."""


class BackendError(OccFaceError):
    """A rasterizer backend was asked for that this machine cannot run."""


class OcclusionError(OccFaceError):
    """An occlusion cannot be made: unknown family, coverage out of range, missing or broken inputs."""
