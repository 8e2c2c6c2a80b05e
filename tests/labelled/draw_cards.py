"""Draws the labelled cards: `python -m tests.labelled.draw_cards [name …]`.

The pictures are kept in the repository, because tests must not depend on the fonts of
the machine. Draw them again when a line of `cards.txt` changes. The fonts come from
these packages of Debian 12: fonts-bebas-neue, fonts-dancingscript, fonts-dejavu-core,
fonts-ebgaramond, fonts-lato, fonts-league-spartan, fonts-liberation2,
fonts-linuxlibertine, fonts-lobster, fonts-noto-cjk, fonts-noto-core, fonts-open-sans,
fonts-quicksand, fonts-roboto-slab.

The words of a style:

- a font of `FONTS`, then the height of its letters in pixels of a picture that is 960
  pixels wide;
- the background: `black`, `white`, `dark`, `light`, `gradient`, `photo` (soft shapes),
  `busy` (much detail); `moving`: three pictures, each with the background moved on;
- `720`, `1080`: the height of the video; by default 540;
- the place: `left`, `top`, `bottom`, `corner`; by default the middle;
- ` | ` in the text parts: `columns` (roles to the right, names to the left of the
  middle), `pairs` (two centred columns), `narrow` (two columns with a small gap);
- the letters: `spaced`, `wide` (space between letters: a third of a letter, a whole
  one), `smallcaps`, `faint` (hardly lighter or darker than the background), `half`
  (half transparent), `outline`, `hollow`, `shadow`, `box`, `red`, `yellow`.
"""

import random
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tests.support.labelled import FOLDER, Card, labelled_cards

_DEBIAN = Path("/usr/share/fonts")
FONTS = {
    "bebas": "opentype/bebas-neue/BebasNeue-Bold.otf",
    "bebas-light": "opentype/bebas-neue/BebasNeue-Light.otf",
    "biolinum": "opentype/linux-libertine/LinBiolinum_R.otf",
    "cjk": "opentype/noto/NotoSansCJK-Regular.ttc",
    "cjk-bold": "opentype/noto/NotoSansCJK-Bold.ttc",
    "cjk-serif": "opentype/noto/NotoSerifCJK-Regular.ttc",
    "kr": "opentype/noto/NotoSansCJK-Regular.ttc",
    "cond-bold": "truetype/open-sans/OpenSans-CondBold.ttf",
    "dancing-bold": "opentype/dancingscript/DancingScript-Bold.otf",
    "dejavu": "truetype/dejavu/DejaVuSans.ttf",
    "dejavu-bold": "truetype/dejavu/DejaVuSans-Bold.ttf",
    "garamond": "opentype/ebgaramond/EBGaramond12-Regular.otf",
    "garamond-bold": "opentype/ebgaramond/EBGaramond12-Bold.otf",
    "lato": "truetype/lato/Lato-Regular.ttf",
    "lato-black": "truetype/lato/Lato-Black.ttf",
    "lato-bold": "truetype/lato/Lato-Bold.ttf",
    "lato-light": "truetype/lato/Lato-Light.ttf",
    "libertine": "opentype/linux-libertine/LinLibertine_R.otf",
    "libmono": "truetype/liberation2/LiberationMono-Regular.ttf",
    "libsans": "truetype/liberation2/LiberationSans-Regular.ttf",
    "libsans-bold": "truetype/liberation2/LiberationSans-Bold.ttf",
    "libserif": "truetype/liberation2/LiberationSerif-Regular.ttf",
    "libserif-bold": "truetype/liberation2/LiberationSerif-Bold.ttf",
    "lobster": "opentype/lobster/lobster.otf",
    "noto": "truetype/noto/NotoSans-Regular.ttf",
    "noto-bold": "truetype/noto/NotoSans-Bold.ttf",
    "opensans": "truetype/open-sans/OpenSans-Regular.ttf",
    "opensans-bold": "truetype/open-sans/OpenSans-Bold.ttf",
    "quicksand": "truetype/quicksand/Quicksand-Medium.ttf",
    "slab": "opentype/roboto/slab/RobotoSlab-Regular.otf",
    "slab-bold": "opentype/roboto/slab/RobotoSlab-Bold.otf",
    "spartan-bold": "opentype/league-spartan/LeagueSpartan-Bold.otf",
    "spartan-black": "opentype/league-spartan/LeagueSpartan-Black.otf",
}
_KOREAN = 1
"""The place of the Korean font in a collection; the Japanese one is the first."""

_WIDTH, _HEIGHT = 960, 540
_LARGER, _SMALLER = 1.5, 0.6
_FRAMES, _STEP = 3, 70
_COLOURS = {"red": (200, 30, 40), "yellow": (245, 220, 40)}
_Colour = tuple[int, int, int]


class _Drawing:
    """The letters of one card, drawn over any background."""

    def __init__(self, card: Card) -> None:
        font, size, *words = card.style.split()
        self.words = frozenset(words)
        self._font = font
        height = next((int(w) for w in ("720", "1080") if w in self.words), _HEIGHT)
        self.scale = height / _HEIGHT
        self.size = (round(_WIDTH * self.scale), height)
        self._letters = float(size) * self.scale
        self._lines = [line for line in card.text.split("\n") if line]

    @property
    def colour(self) -> _Colour:
        """The colour of the letters."""
        if "faint" in self.words and "red" in self.words:
            return (120, 22, 28)
        if "faint" in self.words and self.words & {"dark", "light"}:
            return (62, 62, 62) if "dark" in self.words else (196, 196, 196)
        for word, colour in _COLOURS.items():
            if word in self.words:
                return colour
        return (25, 25, 25) if self.words & {"white", "light"} else (240, 240, 240)

    def over(self, background: Image.Image) -> Image.Image:
        """Return the background with the letters on it."""
        layer = Image.new("RGBA", self.size, (0, 0, 0, 0))
        pen = ImageDraw.Draw(layer)
        heights = [self._height(line) for line in self._lines]
        top = self._top(sum(heights))
        for line, height in zip(self._lines, heights, strict=True):
            for text, left in self._placed(line):
                self._draw(pen, text, left, top, self._size_of(line))
            top += height
        if "half" in self.words or (
            "faint" in self.words and not self.words & {"dark", "light"}
        ):
            share = 0.5 if "half" in self.words else 0.65
            layer.putalpha(layer.getchannel("A").point(lambda alpha: alpha * share))
        picture = background.convert("RGBA")
        if "box" in self.words and (edges := layer.getbbox()):
            box = Image.new("RGBA", self.size, (0, 0, 0, 0))
            grown = (edges[0] - 16, edges[1] - 10, edges[2] + 16, edges[3] + 10)
            ImageDraw.Draw(box).rectangle(grown, (0, 0, 0, 170))
            picture = Image.alpha_composite(picture, box)
        return Image.alpha_composite(picture, layer).convert("RGB")

    def _size_of(self, line: str) -> float:
        if line.startswith("++"):
            return self._letters * _LARGER
        return self._letters * (_SMALLER if line.startswith("--") else 1)

    def _height(self, line: str) -> float:
        return self._size_of(line) * 1.35

    def _top(self, height: float) -> float:
        margin = 24 * self.scale
        if "top" in self.words:
            return margin
        if self.words & {"bottom", "corner"}:
            return self.size[1] - height - margin
        return (self.size[1] - height) / 2

    def _placed(self, line: str) -> Iterator[tuple[str, float]]:
        """Yield the parts of a line, each with its left edge."""
        size, width = self._size_of(line), self.size[0]
        text = line.removeprefix("++").removeprefix("--")
        parts = [text]
        if self.words & {"columns", "pairs", "narrow"}:
            left, _, right = text.partition(" |")
            parts = [left, right.strip()]
        lengths = [self._length(part, size) for part in parts]
        gap = 22 * self.scale
        if len(parts) == 1:
            lefts = [(width - lengths[0]) / 2]
            if "left" in self.words:
                lefts = [60 * self.scale]
            elif "corner" in self.words:
                lefts = [width - lengths[0] - 30 * self.scale]
        elif "pairs" in self.words:
            lefts = [width * (0.27 + 0.46 * n) - lengths[n] / 2 for n in (0, 1)]
        elif "narrow" in self.words:
            lefts = [width / 2 - 120 * self.scale, width / 2]
        else:
            lefts = [width / 2 - gap - lengths[0], width / 2 + gap]
        yield from zip(parts, lefts, strict=True)

    def _pieces(self, text: str, size: float) -> Iterator[tuple[str, float, Any]]:
        """Yield what is drawn at once, its width with the space after, and its font."""
        font = ImageFont.truetype(
            _DEBIAN / FONTS[self._font], size, _KOREAN if self._font == "kr" else 0
        )
        space = size * (0.33 if "spaced" in self.words else 0.9)
        if not self.words & {"spaced", "wide"}:
            yield text, font.getlength(text, features=self._features), font
            return
        for letter in text:
            yield letter, font.getlength(letter) + space, font

    @property
    def _features(self) -> list[str] | None:
        return ["smcp"] if "smallcaps" in self.words else None

    def _length(self, text: str, size: float) -> float:
        return sum(width for _, width, _ in self._pieces(text, size))

    def _draw(
        self, pen: ImageDraw.ImageDraw, text: str, left: float, top: float, size: float
    ) -> None:
        edge = max(2, round(size / 14))
        for piece, width, font in self._pieces(text, size):
            drawn: dict[str, Any] = {"font": font, "features": self._features}
            if "shadow" in self.words:
                pen.text((left + edge, top + edge), piece, (0, 0, 0, 220), **drawn)
            if "hollow" in self.words:
                drawn |= {"stroke_width": edge / 2, "stroke_fill": (*self.colour, 255)}
                pen.text((left, top), piece, (0, 0, 0, 0), **drawn)
                # The stroke fills the letter too: the inside is cut out again.
                drawn |= {"stroke_width": 0}
                pen.text((left, top), piece, (60, 60, 70, 255), **drawn)
            elif "outline" in self.words:
                drawn |= {"stroke_width": edge, "stroke_fill": (0, 0, 0, 255)}
                pen.text((left, top), piece, (*self.colour, 255), **drawn)
            else:
                pen.text((left, top), piece, (*self.colour, 255), **drawn)
            left += width


def _background(words: frozenset[str], size: tuple[int, int], seed: int) -> Image.Image:
    """Return a background that is wide enough to be moved."""
    width, height = size[0] + _STEP * _FRAMES * 2, size[1]
    plain = {
        "black": (0, 0, 0),
        "white": (245, 245, 245),
        "dark": (16, 16, 16),
        "light": (238, 238, 238),
    }
    for word, colour in plain.items():
        if word in words:
            return Image.new("RGB", (width, height), colour)
    draw = random.Random(seed)
    if "gradient" in words:
        ends = np.array([[draw.randint(0, 90) for _ in "rgb"] for _ in range(2)])
        share = np.linspace(0, 1, height)[:, None]
        column = ends[0] * (1 - share) + ends[1] * share
        picture = np.broadcast_to(column[:, None, :], (height, width, 3))
        return Image.fromarray(picture.astype(np.uint8))
    image = Image.new("RGB", (width, height), (60, 70, 80))
    pen = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = draw.randint(0, width), draw.randint(0, height)
        radius = draw.randint(40, 180) * size[1] // _HEIGHT
        colour = cast(_Colour, tuple(draw.randint(20, 150) for _ in "rgb"))
        pen.ellipse((x - radius, y - radius // 2, x + radius, y + radius // 2), colour)
    image = image.filter(ImageFilter.GaussianBlur(26 * size[1] / _HEIGHT))
    if "busy" in words:
        pen = ImageDraw.Draw(image)
        for _ in range(170):
            x, y = draw.randint(0, width), draw.randint(0, height)
            length = draw.randint(8, 60)
            colour = cast(_Colour, tuple(draw.randint(20, 190) for _ in "rgb"))
            pen.line((x, y, x + length, y + draw.randint(-40, 40)), colour, 3)
        image = image.filter(ImageFilter.GaussianBlur(1.2))
    return image


def draw(card: Card) -> None:
    """Write the video of a card: every picture is a keyframe, one a second."""
    drawing = _Drawing(card)
    seed = zlib.crc32(card.name.encode())
    background = _background(drawing.words, drawing.size, seed)
    moving = "moving" in drawing.words
    with av.open(str(card.video), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height = drawing.size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 1
        stream.options = {"preset": "veryslow", "crf": "29"}
        for number in range(_FRAMES if moving else 1):
            left = number * _STEP * round(drawing.scale)
            part = background.crop((left, 0, left + drawing.size[0], drawing.size[1]))
            picture = np.asarray(drawing.over(part))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> None:
    """Draw the cards that are named, by default all of them."""
    (FOLDER / "cards").mkdir(exist_ok=True)
    for card in labelled_cards():
        if card.name in sys.argv[1:] or len(sys.argv) == 1:
            draw(card)


if __name__ == "__main__":
    main()
