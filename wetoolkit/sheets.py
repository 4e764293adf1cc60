"""Renders as people look at them: depth and trust in colours, pictures in rows under a heading, words where nothing is known.

Needs pillow (the extra ``video``), as films do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wetoolkit.film import needed
from wetoolkit.types import Array, Bool, Float, require

INK, SOFT, PAPER, EMPTY, SKY = (38, 40, 44), (120, 124, 130), (255, 255, 255), (226, 228, 232), (150, 154, 160)
# Anchors of two colour maps, evenly spaced and readable without red and green: lightness falls with depth, hue turns with trust.
DEPTH = np.array([(255, 244, 200), (248, 190, 92), (221, 105, 66), (138, 52, 96), (44, 30, 80)], np.float64)
TRUST = np.array([(150, 20, 70), (216, 92, 62), (243, 196, 92), (136, 190, 170), (20, 110, 120)], np.float64)
HEAD, SIDE, SIZE, LINE = 26, 92, 14, 18  # pixels: above the rows, beside them, of the letters, of a further line


def coloured(values: Float, anchors: Float) -> Array:
    """[..., 3] uint8 of values in [0, 1], straight between the anchors [K, 3]; values beyond take the last colour."""
    places = np.linspace(0.0, 1.0, len(anchors))
    channels = [np.interp(values, places, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def depth_range(depths: Sequence[Float]) -> tuple[float, float]:
    """Metres between which all but a fiftieth at each end of what was hit lies; (1, 2) where nothing was."""
    hit = np.concatenate([depth[depth > 0].ravel() for depth in depths]) if depths else np.zeros(0)
    near, far = np.percentile(hit, [2, 98]) if hit.size else (1.0, 2.0)
    return float(near), max(float(far), 1.01 * float(near))


def depth_picture(depth: Float, near: float, far: float) -> Array:
    """[H, W, 3] of depth [H, W] in metres: light at ``near``, dark at ``far``, by its logarithm; grey where it is 0, the sky."""
    require(0 < near < far, f"{near:g} to {far:g} m", "depth", "give 0 < near < far")
    sky: Bool = depth <= 0
    share = np.log(np.where(sky, near, depth) / near) / np.log(far / near)
    return np.where(sky[..., None], np.array(SKY, np.uint8), coloured(share, DEPTH))


def trust_picture(trust: Float) -> Array:
    """[H, W, 3] of trust [H, W] in [0, 1]: red where nothing can be believed, yellow half way, teal where all can."""
    return coloured(trust, TRUST)


def said(shape: tuple[int, int], text: str) -> Array:
    """A grey picture (height, width) that says why there is none."""
    picture = np.full((*shape, 3), EMPTY, np.uint8)
    return captioned(picture, text, (shape[1] / 2, shape[0] / 2), "mm", SOFT)


def captioned(
    picture: Array, text: str, at: tuple[float, float] = (5, 4), anchor: str = "la", colour: tuple[int, int, int] | None = None
) -> Array:
    """A copy with words at a pixel; white on a dark ground unless a colour is given. Words that are too long are cut into lines."""
    image = needed("PIL.Image").fromarray(picture)
    draw, font = needed("PIL.ImageDraw").Draw(image), needed("PIL.ImageFont").load_default(SIZE)
    words = _broken(draw, font, text, picture.shape[1] - 10)
    align = "center" if anchor[0] == "m" else "left"
    if colour is None:
        left, top, right, low = draw.multiline_textbbox(at, words, font=font, anchor=anchor)
        draw.rectangle((left - 3, top - 2, right + 3, low + 3), fill=INK)
    draw.multiline_text(at, words, fill=colour or PAPER, font=font, anchor=anchor, align=align)
    return np.asarray(image)


def _broken(draw: Any, font: Any, text: str, width: float) -> str:
    """The text in lines that are no wider than ``width`` pixels where its words allow it."""
    lines: list[str] = []
    for line in text.split("\n"):
        lines.append("")
        for word in line.split(" "):
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if lines[-1] and draw.textlength(longer, font=font) > width:
                lines.append(word)
            else:
                lines[-1] = longer
    return "\n".join(lines)


def _lines(text: str, width: float) -> int:
    """Lines that ``captioned`` makes of words in a picture of this width."""
    draw = needed("PIL.ImageDraw").Draw(needed("PIL.Image").new("RGB", (1, 1)))
    return 1 + _broken(draw, needed("PIL.ImageFont").load_default(SIZE), text, width - 10).count("\n")


def rows(heads: Sequence[str], labels: Sequence[str], pictures: Sequence[Sequence[Array]]) -> Array:
    """Pictures [H, W, 3] of one size in rows: a heading above each column, a label before each row."""
    require(bool(pictures), "there are no rows", "pictures", "give at least one step")
    height, width = pictures[0][0].shape[:2]
    above = HEAD + LINE * (max(_lines(head, width) for head in heads) - 1)
    sheet = np.full((above + len(pictures) * (height + 4), SIDE + len(heads) * (width + 4), 3), PAPER, np.uint8)
    for column, head in enumerate(heads):
        place = sheet[:above, SIDE + column * (width + 4) :][:, :width]
        place[:] = captioned(place, head, (2, above / 2), "lm", INK)
    for row, (label, line) in enumerate(zip(labels, pictures, strict=True)):
        top = above + row * (height + 4)
        sheet[top : top + height, :SIDE] = captioned(sheet[top : top + height, :SIDE], label, (6, 4), "la", INK)
        for column, picture in enumerate(line):
            left = SIDE + column * (width + 4)
            sheet[top : top + height, left : left + width] = picture
    return sheet


def scaled(picture: Array, shape: tuple[int, int]) -> Array:
    """The picture at another (height, width), its sides' ratio as asked."""
    if picture.shape[:2] == shape:
        return picture
    image = needed("PIL.Image")
    return np.asarray(image.fromarray(picture).resize((shape[1], shape[0]), image.Resampling.LANCZOS))


def even(picture: Array) -> Array:
    """The picture with a white row or column more where its height or width is odd: H.264 needs even ones."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=255)


__all__ = ["captioned", "coloured", "depth_picture", "depth_range", "even", "rows", "said", "scaled", "trust_picture"]
