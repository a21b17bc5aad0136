"""Pictures of the open head for its documentation: ``python -m occface_core.morphable.open_head_sheets``."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.open_head_picture import Array, View, head_colours, paint

_TEXT = (40, 40, 40)
_DOT, _LINE = (60, 130, 210), (140, 110, 95)
_FINE = 2  # pictures are painted this many times finer
_REGIONS = ("lips", "brows", "mouth_interior", "teeth", "eyes")


class HeadPainter:
    """Paints the head in any shape, expression and pose, eyes looking where the eyeballs point."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        self.faces = head.faces.numpy().astype(np.int64)
        self.colours = head_colours({name: head.regions[name].double().numpy() for name in _REGIONS})
        component, front = head.component.numpy(), head.v_template[:, 2].numpy()
        eyes = [np.flatnonzero(component == eye) for eye in (2, 3)]
        self.pupils = [int(ids[front[ids].argmax()]) for ids in eyes]

    @torch.no_grad()
    def verts(
        self,
        *,
        shape: dict[int, float] | None = None,
        jaw: float = 0.0,
        actions: dict[str, float] | None = None,
    ) -> Array:
        """(V,3) metres; `shape` in standard deviations by number, `jaw` in degrees, `actions` 0 to 1."""
        head = self.head
        betas, code, pose = torch.zeros(1, head.n_shape), torch.zeros(1, head.n_expression), torch.zeros(1, 6)
        for number, value in (shape or {}).items():
            betas[0, number] = value
        for name, value in (actions or {}).items():
            code[0, head.expression_names.index(name)] = value
        pose[0, 3] = np.radians(jaw)
        return head(betas, code, pose).verts[0].double().numpy()

    def picture(self, verts: Array, view: View, points: Array | None = None) -> NDArray[np.uint8]:
        """(S,S,3) RGB on white, anti-aliased, with dots on `points` (N,3) if given."""
        view = replace(view, size=_FINE * view.size)
        component = self.head.component.numpy()
        centres = np.stack([verts[component == eye].mean(0) for eye in (2, 3)])
        gazes = verts[self.pupils] - centres
        gazes /= np.linalg.norm(gazes, axis=1, keepdims=True)
        image, _, _ = paint(verts, self.faces, self.colours, view, (centres, gazes), background=1.0)
        canvas = Image.fromarray(image)
        if points is not None:
            draw = ImageDraw.Draw(canvas)
            for x, y, _ in view.project(points):
                draw.ellipse([x - _FINE, y - _FINE, x + _FINE, y + _FINE], fill=_DOT)
        return np.asarray(canvas.reduce(_FINE))


def sheet(tiles: list[tuple[str, NDArray[np.uint8]]], columns: int) -> Image.Image:
    """Tiles with captions, row by row."""
    size, top = tiles[0][1].shape[0], 16
    rows = -(-len(tiles) // columns)
    canvas = Image.new("RGB", (columns * size, rows * (size + top)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=10)
    for i, (caption, image) in enumerate(tiles):
        x, y = i % columns * size, i // columns * (size + top)
        canvas.paste(Image.fromarray(image), (x, y + top))
        draw.text((x + 4, y + 2), caption, fill=_TEXT, font=font)
    return canvas


def mean_sheet(painter: HeadPainter) -> Image.Image:
    """The mean head from three sides, with MediaPipe's points and with iBUG's."""
    verts = painter.verts()
    tensor = torch.from_numpy(verts).float()[None]
    tiles = [("", painter.picture(verts, View(size=240, yaw=turn))) for turn in (0.0, -0.6, -1.5)]
    for name, turn in (("468", 0.0), ("68_static", -0.6)):
        points = painter.head.landmarks(tensor, name)[0].double().numpy()
        tiles.append((name.removesuffix("_static"), painter.picture(verts, View(size=240, yaw=turn), points)))
    return sheet(tiles, 5)


def jaw_sheet(painter: HeadPainter) -> Image.Image:
    """The jaw at four angles, from the front and from the side."""
    angles = (0, 10, 20, 30)
    return sheet(
        [
            (
                f"jaw {angle}\u00b0" if turn == 0 else "",
                painter.picture(painter.verts(jaw=angle), View(170, turn)),
            )
            for turn in (0.0, -0.8)
            for angle in angles
        ],
        len(angles),
    )


def shape_sheet(painter: HeadPainter, count: int = 8, reach: float = 2.5) -> Image.Image:
    """The first shape directions at -reach and +reach standard deviations."""
    view = View(size=140, yaw=-0.45, width=0.33)
    names = painter.head.shape_names
    return sheet(
        [
            (
                names[number].removeprefix("shape_")[:20] if side < 0 else "",
                painter.picture(painter.verts(shape={number: side * reach}), view),
            )
            for number in range(count)
            for side in (-1, 1)
        ],
        8,
    )


def expression_sheet(painter: HeadPainter) -> Image.Image:
    """Every action alone at 1; mouthClose with the jaw open, where it belongs."""
    view = View(size=130, width=0.31)
    tiles = []
    for name in painter.head.expression_names:
        open_jaw = 20.0 if name == "mouthClose" else 0.0
        caption = name + (" *" if open_jaw else "")
        tiles.append((caption, painter.picture(painter.verts(jaw=open_jaw, actions={name: 1.0}), view)))
    return sheet(tiles, 10)


def teeth_sheet(painter: HeadPainter) -> Image.Image:
    """The mouth from near, as it opens."""
    view = View(size=160, width=0.11, centre=(0.0, -0.045, 0.0))
    wide = {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "mouthUpperUpLeft": 0.5, "mouthUpperUpRight": 0.5}
    bared = dict.fromkeys(
        ("mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight"), 1.0
    )
    faces: list[tuple[str, float, float, dict[str, float]]] = [
        ("closed", 0, 0, {}),
        ("jaw 5°, smiling", 5, 0, wide),
        ("the same, 40° yaw", 5, 40, wide),
        ("lips drawn apart", 2, 0, bared),
        ("jaw 10°", 10, 0, {}),
        ("jaw 20°, 30° yaw", 20, 30, {}),
    ]
    tiles = []
    for caption, jaw, yaw, actions in faces:
        verts = painter.verts(jaw=jaw, actions=actions)
        tiles.append((caption, painter.picture(verts, replace(view, yaw=float(np.radians(yaw))))))
    return sheet(tiles, len(tiles))


def uv_sheet(painter: HeadPainter, side: int = 480) -> Image.Image:
    """The texture layout: triangles in the colours of their vertices."""
    head, fine = painter.head, _FINE * side
    assert head.uv is not None
    assert head.uv_faces is not None
    places = (head.uv.double().numpy() * [1, -1] + [0, 1]) * fine
    canvas = Image.new("RGB", (fine, fine), "white")
    draw = ImageDraw.Draw(canvas)
    for corners, triangle in zip(painter.faces, head.uv_faces.tolist(), strict=True):
        colour = tuple(int(255 * value) for value in painter.colours[corners].mean(0))
        draw.polygon([tuple(places[i]) for i in triangle], fill=colour, outline=_LINE)
    return canvas.reduce(_FINE)


def main(arguments: list[str] | None = None) -> None:
    """Command line: write the sheets."""
    parser = argparse.ArgumentParser(description="Pictures of the open head for docs/head.md.")
    parser.add_argument("--out", type=Path, default=Path("docs/img"), help="folder to write PNG files to")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    painter = HeadPainter(HeadModel.load())
    sheets = {
        "mean": mean_sheet,
        "jaw": jaw_sheet,
        "teeth": teeth_sheet,
        "shape": shape_sheet,
        "expressions": expression_sheet,
        "uv": uv_sheet,
    }
    for name, make in sheets.items():
        picture = make(painter).quantize(96, dither=Image.Dither.NONE)
        picture.save(options.out / f"head_{name}.png", optimize=True)


if __name__ == "__main__":
    main()
