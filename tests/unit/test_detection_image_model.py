"""Image-tagging models of one's own: layouts, ranges, outputs, labels, refusals."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stashhog_core.detection.image_model import Label, load_model, read_labels
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import OnnxSettings
from tests.support.media import FLOAT16, UINT8, write_mean_colour_model

RED = (20, 40, 220)
"""A colour whose red is brightest, as (blue, green, red)."""


def write_labels(path: Path, *names: str) -> Path:
    path.write_text("\n".join(names))
    return path


def settings(
    folder: Path, shape: Sequence[int | str], labels: Path | None = None, **given: Any
) -> OnnxSettings:
    written = {n: given.pop(n) for n in ("element", "scale", "offset") if n in given}
    model = write_mean_colour_model(folder / "model.onnx", shape, **written)
    labels = labels or write_labels(folder / "labels.txt", "First", "Second", "Third")
    return OnnxSettings(model=model, labels=labels, **given)


def picture(side: int, colour: tuple[int, int, int] = RED) -> np.ndarray[Any, Any]:
    return np.full((side, side, 3), colour, np.uint8)


@pytest.mark.parametrize(
    ("shape", "given", "expected"),
    [
        pytest.param(
            ("n", 3, 8, 8), {"pixels": "unit"}, [220, 40, 20], id="colours-first-rgb"
        ),
        pytest.param(
            (1, 3, 8, 8), {"pixels": "unit"}, [220, 40, 20], id="one-picture-a-run"
        ),
        pytest.param(
            (5, 3, 8, 8), {"pixels": "unit"}, [220, 40, 20], id="five-pictures-a-run"
        ),
        pytest.param(
            ("n", 8, 8, 3), {"scale": 1 / 255}, [20, 40, 220], id="colours-last-bgr"
        ),
        pytest.param(
            ("n", "h", "w", 3),
            {"scale": 1 / 255, "size": 16, "channels": "rgb"},
            [220, 40, 20],
            id="open-size",
        ),
        pytest.param(
            ("n", 3, 8, 8),
            {"element": UINT8, "scale": 1 / 255},
            [220, 40, 20],
            id="bytes",
        ),
        pytest.param(
            ("n", 3, 8, 8),
            {"element": FLOAT16, "pixels": "unit"},
            [220, 40, 20],
            id="halves",
        ),
        pytest.param(
            ("n", 3, 8, 8),
            {"pixels": "signed", "scale": 0.5, "offset": 0.5},
            [220, 40, 20],
            id="signed",
        ),
    ],
)
def test_input_is_laid_out_as_the_model_says(
    tmp_path: Path,
    shape: Sequence[int | str],
    given: dict[str, Any],
    expected: list[int],
) -> None:
    """Order of dimensions, size, number type and batch are read from the model."""
    model = load_model(settings(tmp_path, shape, **given))

    side = model.size[0]
    scores = model([picture(side), picture(side, (255, 255, 255))][: model.batch])

    assert scores[0] * 255 == pytest.approx(expected, abs=1)
    assert scores[1:] == pytest.approx(np.ones((len(scores) - 1, 3)), abs=0.01)
    assert (model.size, side) == ((side, side), given.get("size", 8))


def test_imagenet_is_the_range_of_colours_first(tmp_path: Path) -> None:
    """Left to itself, pictures are brought to ImageNet's mean and deviation."""
    model = load_model(settings(tmp_path, ("n", 3, 8, 8), outputs="logits"))

    (scores,) = model([picture(8)])

    logits = np.log(scores / (1 - scores))
    wanted = [(220 / 255 - 0.485) / 0.229, (40 / 255 - 0.456) / 0.224]
    assert logits[:2] == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        pytest.param("auto", 1 / (1 + np.exp(-10)), id="logits-are-recognised"),
        pytest.param("probabilities", 1, id="probabilities-are-kept-in-range"),
        pytest.param("softmax", 1 / (1 + 2 * np.exp(-20)), id="softmax"),
    ],
)
def test_outputs_become_probabilities(
    tmp_path: Path, outputs: str, expected: float
) -> None:
    """Logits of -10 to 10 are no probabilities, whatever they are taken for."""
    given = {"pixels": "unit", "scale": 20, "offset": -10, "outputs": outputs}
    model = load_model(settings(tmp_path, ("n", 3, 8, 8), **given))

    (scores,) = model([picture(8, (0, 0, 255))])

    assert scores[0] == pytest.approx(expected)


def test_smaller_picture_stands_on_white(tmp_path: Path) -> None:
    """A wide frame keeps its shape; what it does not fill is white."""
    model = load_model(settings(tmp_path, ("n", 3, 8, 8), pixels="unit"))

    (scores,) = model([np.zeros((4, 8, 3), np.uint8)])

    assert scores == pytest.approx([0.5, 0.5, 0.5])


def test_not_a_number_counts_as_zero(tmp_path: Path) -> None:
    """A model that divides by zero says nothing of the picture."""
    given = {"pixels": "unit", "scale": float("nan")}
    model = load_model(settings(tmp_path, ("n", 3, 8, 8), **given))

    (scores,) = model([picture(8)])

    assert scores.tolist() == [0, 0, 0]


def test_content_is_that_of_both_files(tmp_path: Path) -> None:
    """Another model or other labels are another tagger; a copy is the same."""
    first = settings(tmp_path, ("n", 3, 8, 8))
    other = tmp_path / "other"
    other.mkdir()
    copy = settings(other, ("n", 3, 8, 8))
    contents = [load_model(s).content for s in (first, copy)]

    write_labels(tmp_path / "labels.txt", "First", "Second", "Fourth")
    contents.append(load_model(first).content)
    write_mean_colour_model(tmp_path / "model.onnx", ("n", 3, 8, 8), scale=0.5)
    contents.append(load_model(first).content)

    assert contents[0] == contents[1]
    assert len(set(contents)) == 3


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        pytest.param(("n", 3, 8, 8, 8), "four dimensions", id="moving-pictures"),
        pytest.param(("n", 1, 8, 8), "three colours", id="gray"),
    ],
)
def test_model_of_another_kind_is_refused(
    tmp_path: Path, shape: Sequence[int | str], words: str
) -> None:
    """One sentence says what a model must take."""
    with pytest.raises(ConfigurationError, match=words):
        load_model(settings(tmp_path, shape))


def test_labels_must_be_those_of_the_model(tmp_path: Path) -> None:
    """Two names for three outputs would name the wrong things."""
    labels = write_labels(tmp_path / "two.txt", "First", "Second")

    with pytest.raises(ConfigurationError, match=r"3 outputs, but .* has 2 labels"):
        load_model(settings(tmp_path, ("n", 3, 8, 8), labels))


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """A web page saved under the model's name is told from a model."""
    given = settings(tmp_path, ("n", 3, 8, 8))
    assert given.model is not None
    given.model.write_text("<html>")

    with pytest.raises(ConfigurationError, match="no ONNX model"):
        load_model(given)


@pytest.mark.parametrize("missing", ["model", "labels"])
def test_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    """The path that does not exist stands in the sentence, and the setting."""
    given = settings(tmp_path, ("n", 3, 8, 8))
    gone = given.model_copy(update={missing: tmp_path / "gone"})

    with pytest.raises(ConfigurationError, match=r"gone.*STASHHOG_ONNX__MODEL"):
        load_model(gone)


def test_missing_runtime_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package nothing but this detector is lost."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigurationError, match="onnxruntime is not installed"):
        load_model(settings(tmp_path, ("n", 3, 8, 8)))


def test_labels_as_taggers_ship_them() -> None:
    """A CSV has names and the numbers of categories; words get their spaces."""
    content = (
        b"\xef\xbb\xbftag_id,name,category,count\r\n"
        b"9999,explicit,9,100\r\n1,long_hair,0,5\r\n2,^_^,0,5\r\n"
        b'3,"smith,_jane",4,5\r\n4,own_kind,places,1\r\n'
    )

    assert read_labels(Path("selected_tags.csv"), content) == [
        Label("explicit", "rating"),
        Label("long hair", "general"),
        Label("^_^", "general"),
        Label("smith, jane", "character"),
        Label("own kind", "places"),
    ]


def test_labels_as_lines() -> None:
    """An empty line is an output without a name, and keeps the others in place."""
    content = b"Outdoor\n\nBeach\r\n"

    names = [label.name for label in read_labels(Path("labels.txt"), content)]

    assert names == ["Outdoor", "", "Beach"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        pytest.param("a.csv", b"id,label\n1,x\n", "no column `name`", id="no-column"),
        pytest.param("a.txt", b"\n\n", "has no labels", id="empty"),
        pytest.param("a.txt", b"\xff\xfe\x00", "not UTF-8", id="not-text"),
    ],
)
def test_bad_label_file_is_refused(name: str, content: bytes, words: str) -> None:
    """The sentence says what is wrong with it."""
    with pytest.raises(ConfigurationError, match=words):
        read_labels(Path(name), content)
