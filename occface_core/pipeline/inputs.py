"""What the command line is given: photos, folders and videos as single pictures; face boxes from a CSV."""

import csv
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import cv2
import numpy as np

from occface_core.data.images import SUFFIXES, LoadedImage, load_image
from occface_core.errors import BoxError, ConfigError, ImageError

log = logging.getLogger(__name__)
_NAMED = 5  # boxes without a picture that are named
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"})


@dataclass(frozen=True)
class Picture:
    """One photo or one video frame, not yet read.

    Attributes:
        path: The file.
        label: What the manifest calls it: the path, for frames with `#` and the frame number.
        stem: What its results would be called.
        load: Read the pixels; raises ImageError.
    """

    path: Path
    label: str
    stem: str
    load: Callable[[], LoadedImage]

    @property
    def identity(self) -> str:
        """The same for the same picture however its path was spelled."""
        return str(self.path.resolve()) + self.label[len(self.path.as_posix()) :]


def find_files(inputs: Sequence[Path], *, skip: Path | None = None) -> list[Path]:
    """Photos and videos named directly (whatever their ending) or lying in folders, each once, in order.

    Args:
        inputs: Files and folders; folders are searched to any depth, hidden files and folders left out.
        skip: A folder that is left out, such as the one results are written to.

    Raises:
        ConfigError: There is nothing to read.
    """
    found: dict[Path, Path] = {}
    for entry in inputs:
        for path in _in_folder(entry, skip) if entry.is_dir() else [entry]:
            found.setdefault(path.resolve(), path)
    if not found:
        shown = ", ".join(f"'{entry}'" for entry in inputs)
        raise ConfigError(f"{shown} holds no photos or videos; give image files, videos, or folders of them")
    return list(found.values())


def _in_folder(folder: Path, skip: Path | None) -> Iterator[Path]:
    skipped = skip.resolve() if skip is not None else None
    # A folder around the photos leaves none of them out.
    inner = skipped is not None and folder.resolve() in skipped.parents
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.suffix.lower() not in SUFFIXES | VIDEO_SUFFIXES or any(
            part.startswith(".") for part in inside
        ):
            continue
        if path.is_file() and not (inner and skipped in path.resolve().parents):
            yield path


def refuse_shared_folder(files: Sequence[Path], out: Path) -> None:
    """Keep results away from the photos themselves: an OBJ's texture is called like a photo, NAME.png.

    Raises:
        ConfigError: Some input lies directly in the output folder.
    """
    target = out.resolve()
    inside = next((path for path in files if path.resolve().parent == target), None)
    if inside is not None:
        raise ConfigError(
            f"--out '{out}' also holds the input '{inside.name}', which results could overwrite; "
            "choose another folder"
        )


def count_pictures(files: Sequence[Path]) -> int:
    """How many pictures there are to come; for videos what their header says."""
    total = 0
    for path in files:
        if not _is_video(path):
            total += 1
            continue
        capture = cv2.VideoCapture(str(path))
        total += max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        capture.release()
    return total


def pictures(files: Sequence[Path]) -> Iterator[Picture]:
    """Photos and video frames in order. A frame can be read only until the next one is asked for."""
    for path in files:
        if _is_video(path):
            yield from _frames(path)
        else:
            yield Picture(path, path.as_posix(), path.stem, lambda path=path: load_image(path))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _frames(path: Path) -> Iterator[Picture]:
    capture = cv2.VideoCapture(str(path))
    index = 0
    try:
        while capture.grab():
            yield Picture(
                path,
                f"{path.as_posix()}#{index:06d}",
                f"{path.stem}_{index:06d}",
                lambda: _decode(capture, path),
            )
            index += 1
    finally:
        capture.release()
    if index == 0:
        yield Picture(path, path.as_posix(), path.stem, lambda: _unreadable(path))


def _decode(capture: cv2.VideoCapture, path: Path) -> LoadedImage:
    ok, frame = capture.retrieve()
    if not ok or frame is None:
        raise ImageError(f"a frame of '{path}' cannot be decoded; convert the video to H.264 MP4")
    return LoadedImage(np.ascontiguousarray(frame[..., ::-1]))


def _unreadable(path: Path) -> LoadedImage:
    reason = "is not a file" if not path.is_file() else "holds no readable frame; convert it to H.264 MP4"
    raise ImageError(f"'{path}' {reason}")


@dataclass
class BoxTable:
    """Face boxes by image name, from a CSV file with the columns `image,x0,y0,x1,y1`.

    Attributes:
        path: The file.
        rows: Name as written -> (line number, the four fields).
        used: Names that some picture asked for -> its file.
    """

    path: Path
    rows: dict[str, tuple[int, list[str]]]
    used: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "BoxTable":
        """Read the table.

        Raises:
            ConfigError: The file is missing, no text, lacks a column, or names a picture twice.
        """
        columns = ("image", "x0", "y0", "x1", "y1")
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                reader = csv.DictReader(stream)
                missing = [name for name in columns if name not in (reader.fieldnames or [])]
                if missing:
                    raise ConfigError(
                        f"'{path}' lacks the columns {', '.join(missing)}; its first line must be "
                        "image,x0,y0,x1,y1"
                    )
                rows: dict[str, tuple[int, list[str]]] = {}
                for row in reader:
                    image = PurePath((row["image"] or "").replace("\\", "/")).as_posix()
                    if row["image"] and image in rows:
                        raise ConfigError(
                            f"'{path}' has two boxes for '{image}', in lines {rows[image][0]} and "
                            f"{reader.line_num}; keep the one of the face that is wanted"
                        )
                    if row["image"]:
                        rows[image] = (reader.line_num, [str(row[name] or "") for name in columns[1:]])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(f"'{path}' cannot be read as a table of boxes ({error})") from error
        return cls(path, rows)

    def find(self, picture: Picture) -> list[float] | None:
        """The picture's box: by frame name, by path, or by the longest ending of its path that is listed.

        Raises:
            BoxError: Its row holds something else than four numbers, or was another picture's already.
        """
        parts = picture.path.as_posix().split("/")
        names = [picture.stem, picture.label, *("/".join(parts[i:]) for i in range(len(parts)))]
        name = next((name for name in names if name in self.rows), None)
        if name is None:
            return None
        line, fields = self.rows[name]
        other = self.used.setdefault(name, picture.path)
        if other != picture.path:
            raise BoxError(
                f"'{self.path}' line {line}: '{name}' may be '{other}' or '{picture.path}'; "
                "write the folder too"
            )
        try:
            return [float(value) for value in fields]
        except ValueError as error:
            raise BoxError(f"'{self.path}' line {line}: {', '.join(fields)} is not four numbers") from error

    def name_unused(self) -> None:
        """Warn of rows that no picture has asked for."""
        unused = [name for name in self.rows if name not in self.used]
        if unused:
            names = ", ".join(unused[:_NAMED]) + (", ..." if len(unused) > _NAMED else "")
            log.warning("%d boxes belong to no picture that was given: %s", len(unused), names)
