"""Many pictures into one folder: batches, resume, one bad file never stops the rest."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from occface_core.errors import BoxError, ConfigError, OccFaceError
from occface_core.pipeline.export import save_reconstruction
from occface_core.pipeline.inputs import BoxTable, Picture
from occface_core.pipeline.manifest import OK, Manifest, Row, make_folder, status_of
from occface_core.pipeline.types import Reconstruction

log = logging.getLogger(__name__)
# Pixels kept in memory at once (three bytes each); reached before the batch is full only by large photos.
MAX_PENDING_PIXELS = 120_000_000
# All photos of one person must be in memory together: 1.5 GB.
MAX_PERSON_PIXELS = 500_000_000


@runtime_checkable
class BatchReconstructor(Protocol):
    """What the runner needs of `FaceReconstructor`; its `head`, if it has one, makes GLB files animatable."""

    def reconstruct_batch(
        self, images: list[np.ndarray], *, boxes: list[list[float] | None]
    ) -> list[Reconstruction | OccFaceError]: ...


@dataclass(frozen=True)
class RunConfig:
    """Where results go and which.

    Attributes:
        out: Folder, made if absent.
        formats: Mesh formats besides the npz and the JSON.
        batch_size: Pictures per call of the reconstructor.
        overwrite: Make results again that are already there.
        model, head: As asked for; results made with others are reported, not silently kept.
        one_person: The pictures show one person and go to the reconstructor all at once; every result depends
            on all of them, so all are made again.
    """

    out: Path
    formats: tuple[str, ...] = ()
    batch_size: int = 8
    overwrite: bool = False
    model: str = "student"
    head: str = "open"
    one_person: bool = False


@dataclass(frozen=True)
class _Pending:
    """A picture that has been read and waits for its batch."""

    picture: Picture
    name: str
    pixels: np.ndarray
    notes: tuple[str, ...]
    box: list[float] | None


class Runner:
    """Reconstructs pictures into a folder.

    Args:
        config: Where and what.
        make_reconstructor: Called when the first picture needs it, never when all are done.
        boxes: Face boxes; pictures without one are searched for faces.
    """

    def __init__(
        self,
        config: RunConfig,
        make_reconstructor: Callable[[], BatchReconstructor],
        boxes: BoxTable | None = None,
    ) -> None:
        self.config = config
        self.boxes = boxes
        make_folder(config.out)
        self.manifest = Manifest(config.out / "manifest.csv")
        self.skipped = 0
        self.made_otherwise = 0
        self._make = make_reconstructor
        self._reconstructor: BatchReconstructor | None = None
        self._owner: dict[str, str] = {}  # result name, lower case -> identity of the picture it belongs to

    def run(self, pictures: Iterable[Picture]) -> Iterator[Row]:
        """Work through pictures; yields each one's outcome as it is known.

        Raises:
            AssetError, ConfigError: The reconstructor itself cannot be made.
        """
        pending: list[_Pending] = []
        try:
            for picture in pictures:
                name = self._name(picture)
                if not (self.config.overwrite or self.config.one_person) and self._is_done(picture, name):
                    self.skipped += 1
                    yield self._record(self.manifest.earlier(picture.label) or Row(picture.label, OK))
                    continue
                read = self._read(picture, name)
                if isinstance(read, Row):
                    yield self._record(read)
                    continue
                pending.append(read)
                if self._full(pending):
                    yield from self._finish(pending)
                    pending = []
            yield from self._finish(pending)
        finally:
            self.manifest.write()

    def _full(self, pending: list[_Pending]) -> bool:
        pixels = sum(item.pixels.shape[0] * item.pixels.shape[1] for item in pending)
        if self.config.one_person:
            if pixels > MAX_PERSON_PIXELS:
                raise ConfigError(
                    f"'{pending[-1].picture.label}' is photo {len(pending)} of one person, and together they "
                    f"have {pixels / 1e6:.0f} million pixels ({MAX_PERSON_PIXELS / 1e6:.0f} fit); give fewer "
                    "or smaller ones"
                )
            return False
        return len(pending) >= self.config.batch_size or pixels >= MAX_PENDING_PIXELS

    def _record(self, row: Row) -> Row:
        self.manifest.add(row)
        return row

    def _name(self, picture: Picture) -> str:
        """The picture's stem, or with a few letters more when another picture already has that name."""
        longer = f"{picture.stem}-{hashlib.sha256(picture.identity.encode()).hexdigest()[:8]}"
        name = longer if self._stored_source(longer) == picture.identity else picture.stem
        # Lower case: on some disks A.npz and a.npz are one file.
        owner = self._owner.get(name.lower()) or self._stored_source(name)
        if owner not in (None, picture.identity):
            name = longer
        self._owner[name.lower()] = picture.identity
        return name

    def _stored_source(self, name: str) -> str | None:
        return _stored(self.config.out / f"{name}.json").get("source")

    def _is_done(self, picture: Picture, name: str) -> bool:
        stored = _stored(self.config.out / f"{name}.json")
        wanted = [f"{name}.npz", *(f"{name}.{suffix}" for suffix in self.config.formats)]
        if stored.get("source") != picture.identity or not all(
            (self.config.out / f).is_file() for f in wanted
        ):
            return False
        if not self._agrees_with_box(picture, stored):
            return False
        made = (stored.get("model"), stored.get("head"), stored.get("one_person", False))
        if made != (self.config.model, self.config.head, self.config.one_person):
            self.made_otherwise += 1
        return True

    def _agrees_with_box(self, picture: Picture, stored: dict[str, Any]) -> bool:
        """Whether a result was made from the box that is listed now; without one any will do."""
        try:
            box = None if self.boxes is None else self.boxes.find(picture)
        except BoxError:
            return False  # it is reported when the picture is read
        return box is None or stored.get("box") == box

    def _read(self, picture: Picture, name: str) -> _Pending | Row:
        try:
            box = None if self.boxes is None else self.boxes.find(picture)
            loaded = picture.load()
        except OccFaceError as error:
            return Row(picture.label, status_of(error), str(error))
        except Exception as error:
            return _unexpected(picture, error)
        notes = loaded.notes
        if self.boxes is not None and box is None:
            notes += ("no box is listed for it, so the face was searched for",)
        return _Pending(picture, name, loaded.pixels, notes, box)

    def _finish(self, pending: list[_Pending]) -> Iterator[Row]:
        if not pending:
            return
        if self._reconstructor is None:
            self._reconstructor = self._make()
        for item, result in zip(pending, self._reconstruct(self._reconstructor, pending), strict=True):
            yield self._record(self._save(item, result))

    def _reconstruct(
        self, model: BatchReconstructor, pending: list[_Pending]
    ) -> list[Reconstruction | Exception]:
        try:
            images, boxes = [item.pixels for item in pending], [item.box for item in pending]
            return list(model.reconstruct_batch(images, boxes=boxes))
        except Exception as error:
            if len(pending) == 1 or self.config.one_person:  # one by one they would be other results
                return [error for _ in pending]
            log.debug("a batch of %d failed (%s); trying its pictures one by one", len(pending), error)
            return [result for item in pending for result in self._reconstruct(model, [item])]

    def _save(self, item: _Pending, result: Reconstruction | Exception) -> Row:
        label = item.picture.label
        if isinstance(result, OccFaceError):
            return Row(label, status_of(result), str(result))
        if isinstance(result, Exception):
            return _unexpected(item.picture, result)
        result = replace(result, notes=(*item.notes, *result.notes))
        extra = {
            "image": label,
            "source": item.picture.identity,
            "one_person": self.config.one_person,
        }
        try:
            save_reconstruction(
                result,
                self.config.out,
                item.name,
                head=getattr(self._reconstructor, "head", None),
                formats=self.config.formats,
                extra=extra,
            )
        except (OSError, OccFaceError) as error:
            return Row(label, status_of(OccFaceError()), f"its results cannot be written: {error}")
        renamed = () if item.name == item.picture.stem else (f"saved as {item.name}: the name was taken",)
        return Row(label, OK, "; ".join((*renamed, *result.notes)))


def _unexpected(picture: Picture, error: Exception) -> Row:
    log.debug("unexpected error with %s", picture.label, exc_info=error)
    return Row(picture.label, status_of(error), f"unexpected {type(error).__name__}: {error}")


def _stored(path: Path) -> dict[str, Any]:
    """A result's JSON, empty when it is absent or damaged (then the result is made again)."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
