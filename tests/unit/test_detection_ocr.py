"""Text recognition: what it reads, which models it uses, and what it never does."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw, ImageFont

from stashhog_core.detection import ocr
from stashhog_core.detection.ocr import in_reading_order, load_ocr
from stashhog_core.errors import ConfigurationError

MODELS = ("PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx")


def package_folder() -> Path:
    spec = importlib.util.find_spec("rapidocr")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with links to the models, which no other test has loaded from there."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in MODELS:
        (folder / name).symlink_to(package_folder() / "models" / name)
    return folder


def card(*lines: str, size: int = 28) -> np.ndarray:
    image = Image.new("RGB", (640, 360), (20, 20, 60))
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype("DejaVuSans.ttf", size)
    for number, line in enumerate(lines):
        draw.text((40, 40 + number * size * 2), line, (240, 240, 240), font)
    return np.asarray(image)[:, :, ::-1].copy()


def read(picture: np.ndarray) -> list[str]:
    (lines,) = load_ocr()([picture])
    return [line.text for line in lines]


def test_text_is_read_row_by_row() -> None:
    """Two pieces of one row are read left to right, though one is a little higher."""

    def piece(left: int, top: int, text: str) -> tuple[Any, str, float]:
        right, bottom = left + 50, top + 20
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        return corners, text, 0.9

    found = [piece(0, 60, "below"), piece(100, 8, "Kush"), piece(0, 10, "Jade")]

    assert [text for _, text, _ in in_reading_order(found)] == ["Jade", "Kush", "below"]


def test_version_in_the_cache_key_is_the_installed_one() -> None:
    """Outputs of other models are not taken for those of these models."""
    assert importlib.metadata.version("rapidocr") in ocr.ENGINE


def test_opencv_is_installed_once() -> None:
    """Two packages with the module `cv2` would overwrite each other's files."""
    providers = importlib.metadata.packages_distributions()["cv2"]

    assert set(providers) == {"opencv-python-headless"}


def test_missing_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading cards is an extra; without it the job says so before it starts."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ConfigurationError, match=r"install requirements/run\.txt"):
        load_ocr()


@pytest.mark.parametrize("name", MODELS)
def test_missing_model_is_one_sentence_before_the_job_starts(
    models: Path, name: str
) -> None:
    """The sentence names the file and the package to install; nothing is fetched."""
    (models / name).unlink()

    with pytest.raises(
        ConfigurationError,
        match=rf"the file is missing.*{name}.*install the package rapidocr 3\.",
    ):
        load_ocr(models)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut-short"),
        pytest.param(lambda content: b"<html>" * 99, id="other"),
    ],
)
def test_damaged_model_is_one_sentence(models: Path, name: str, damage: Any) -> None:
    """A damaged file ends the job at the first picture: all others would fail too."""
    whole = (models / name).read_bytes()
    (models / name).unlink()
    (models / name).write_bytes(damage(whole))

    with pytest.raises(
        ConfigurationError,
        match=rf"the file is damaged.*{name}.*install the package rapidocr 3\.",
    ) as caught:
        load_ocr(models)([card("Jade Kush")])

    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "Zoë Müller & José Peña",
        "Łukasz Dvořák",
        "Straße 9, Bjørn Åsen",
        "Renée Đurić, Müşerref",
    ],
)
def test_accents_and_letters_of_europe_are_read(name: str) -> None:
    """The letters of the earlier models had hardly any accents."""
    assert read(card("Starring", name)) == ["Starring", name]


@pytest.mark.slow
def test_picture_without_text_has_no_lines() -> None:
    """Plain and noisy pictures, and the smallest ones."""
    noise = np.random.default_rng(3).integers(0, 255, (90, 160, 3), np.uint8)

    assert read(np.zeros((360, 640, 3), np.uint8)) == []
    assert read(noise) == []
    assert read(noise[:1, :1]) == []


@dataclass
class Uses:
    """What the models were used for: files loaded, and the shapes of their inputs.

    `smallest` is what the threads take 1e-39 for.
    """

    loaded: list[str] = field(default_factory=list)
    smallest: set[float] = field(default_factory=set)
    shapes: dict[str, list[tuple[int, ...]]] = field(
        default_factory=lambda: {name: [] for name in MODELS}
    )


@pytest.fixture
def uses(monkeypatch: pytest.MonkeyPatch) -> Uses:
    """Notes how ONNX Runtime is used."""
    noted = Uses()

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, path: str, *args: Any, **options: Any) -> None:
            self.file = Path(path).name
            noted.loaded.append(self.file)
            super().__init__(path, *args, **options)

        def run(self, outputs: Any, inputs: dict[str, Any], *args: Any) -> Any:
            noted.shapes[self.file] += [given.shape for given in inputs.values()]
            noted.smallest.add(float((np.full(8, 1e-39, np.float32) * 1)[0]))
            return super().run(outputs, inputs, *args)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return noted


@pytest.mark.slow
def test_models_are_loaded_once_for_all_threads(models: Path, uses: Uses) -> None:
    """Batches that begin at the same time share the models."""
    with ThreadPoolExecutor(4) as batches:
        read = batches.map(
            lambda _: load_ocr(models)([card("Jade Kush")] * 2), range(4)
        )

        assert {lines[0].text for both in read for lines in both} == {"Jade Kush"}
    assert sorted(uses.loaded) == list(MODELS)


@pytest.mark.slow
def test_models_are_not_loaded_before_the_first_picture(
    models: Path, uses: Uses
) -> None:
    """A batch whose videos are all in the result cache needs no models."""
    load_ocr(models)

    assert uses.loaded == []


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="only such processors are known to be slowed down",
)
def test_models_are_not_slowed_down_by_tiny_numbers(models: Path, uses: Uses) -> None:
    """Numbers below 1e-38 are zero for the models, and for nothing else."""
    assert load_ocr(models)([card("Jade Kush")])

    assert uses.smallest == {0.0}
    assert (np.full(8, 1e-39, np.float32) * 1)[0] > 0


@pytest.mark.slow
def test_picture_without_text_is_searched_once_and_small(
    models: Path, uses: Uses
) -> None:
    """The search in full size takes ten times as long: only text is worth it."""
    noise = np.random.default_rng(3).integers(0, 255, (540, 960, 3), np.uint8)

    assert load_ocr(models)([noise]) == [[]]

    assert uses.shapes[MODELS[0]] == [(1, 3, 224, 384)]


@pytest.mark.slow
def test_text_that_stands_still_is_read_once(models: Path, uses: Uses) -> None:
    """A name of a site in all pictures costs as much as in one picture."""
    grain = np.random.default_rng(3)
    one = card("Blue Harbor Films", "Jade Kush").astype(int)
    pictures = [
        (one + grain.integers(-4, 5, one.shape)).clip(0, 255).astype(np.uint8)
        for _ in range(6)
    ]

    found = load_ocr(models)(pictures)

    texts = [[line.text for line in lines] for lines in found]
    assert texts == [["Blue Harbor Films", "Jade Kush"]] * 6
    # The first picture is searched twice; grain moves the border of a line a little.
    assert len(uses.shapes[MODELS[0]]) == 7
    assert len(uses.shapes[MODELS[1]]) <= 6


@pytest.mark.slow
def test_line_that_both_searches_find_is_read_once(models: Path, uses: Uses) -> None:
    """The first new line shows that a picture is searched again; only it is read twice.

    Later pictures of the same card are not read at all.
    """
    lines = ["Starring", "Mia Cole", "Dana Reed", "Tom Baker", "Jade Kush"]

    found = load_ocr(models)([card(*lines)] * 3)

    assert [[line.text for line in of_picture] for of_picture in found] == [lines] * 3
    assert len(uses.shapes[MODELS[1]]) == len(lines) + 1


@pytest.mark.slow
def test_each_of_several_texts_at_one_place_is_read() -> None:
    """Names in a row of cards differ by a letter only."""
    names = ["Mia Cole 1", "Mia Cole 7", "Mia Cole 4", "Mio Cole 4"]

    found = load_ocr()([card(name, size=40) for name in names])

    assert [[line.text for line in lines] for lines in found] == [[n] for n in names]


@pytest.mark.slow
def test_small_letters_beside_large_ones_are_read() -> None:
    """They are too small for the first search, which finds the large ones."""
    image = Image.fromarray(np.full((540, 960, 3), 20, np.uint8))
    draw = ImageDraw.Draw(image)
    for top, size, text in ((80, 60, "Golden Hour"), (400, 10, "with Jade Kush")):
        font = ImageFont.truetype("DejaVuSans.ttf", size)
        draw.text((100, top), text, (240, 240, 240), font)

    assert read(np.asarray(image)) == ["Golden Hour", "with Jade Kush"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((64, 16384), id="wide"),
        pytest.param((16384, 64), id="high"),
        pytest.param((4096, 16384), id="large"),
    ],
)
def test_time_for_a_picture_is_bounded(
    models: Path, uses: Uses, shape: tuple[int, int]
) -> None:
    """The models get pictures of a bounded size, and a bounded number of lines."""
    picture = np.zeros((*shape, 3), np.uint8)
    picture[::8, ::3] = 255

    load_ocr(models)([picture])

    assert uses.shapes[MODELS[0]]
    for _, _, height, width in uses.shapes[MODELS[0]]:
        assert height * width <= 640 * 1600
    assert len(uses.shapes[MODELS[1]]) <= 2 * ocr.MOST_LINES
    assert all(width <= 2048 for _, _, _, width in uses.shapes[MODELS[1]])


@pytest.mark.slow
def test_reading_is_silent_and_local(tmp_path: Path) -> None:
    """No connection, no output, no file in the package, no log handler."""
    picture = tmp_path / "card.npy"
    np.save(picture, card("Jade Kush"))
    package = tmp_path / "lib" / "rapidocr"
    shutil.copytree(package_folder(), package)
    before = sorted(package.rglob("*"))
    script = """
import logging, socket, sys
import numpy as np

def refuse(*_, **__):
    raise AssertionError("a connection")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from stashhog_core.detection.ocr import load_ocr
(lines,) = load_ocr()([np.load(sys.argv[1])])
assert [line.text for line in lines] == ["Jade Kush"], lines
assert not logging.root.handlers
assert not {"rapidocr", "requests", "urllib3"} & set(sys.modules)
"""
    search_path = f"{package.parent}:{Path(__file__).parents[2]}"
    ended = subprocess.run(
        [sys.executable, "-c", script, str(picture)],
        env=os.environ | {"PYTHONPATH": search_path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert sorted(package.rglob("*")) == before
