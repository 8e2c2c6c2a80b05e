"""The names of a model's outputs: lines of text, or a CSV file as taggers ship it."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from stashhog_core.errors import ConfigurationError

# The numbers of the sites whose tags such taggers have learnt.
_CATEGORIES = {"0": "general", "1": "artist", "3": "copyright", "4": "character"}
_CATEGORIES |= {"5": "meta", "9": "rating"}
_LETTERS = re.compile(r"[^\W\d_]{2}")


@dataclass(frozen=True)
class Label:
    """What one output stands for; an empty name stands for nothing."""

    name: str
    category: str = "general"


def read_labels(path: Path, content: bytes) -> list[Label]:
    """Return the labels of a file in the order of the model's outputs.

    A CSV file has a column `name` and may have `category`; any other file has one name
    a line. Underscores between words become spaces.

    Raises:
        ConfigurationError: It is not text, has no column `name`, or is empty.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(path, "it is not UTF-8 text") from error
    if path.suffix.lower() == ".csv":
        labels = _of_table(path, text)
    else:
        labels = [Label(_spaced(line.strip())) for line in text.splitlines()]
    if not any(label.name for label in labels):
        raise _wrong(path, "it names no label")
    return labels


def _of_table(path: Path, text: str) -> list[Label]:
    rows = csv.DictReader(text.splitlines())
    if "name" not in (rows.fieldnames or ()):
        raise _wrong(path, "its first line has no column `name`")
    labels = []
    for row in rows:
        category = (row.get("category") or "0").strip()
        name = (row["name"] or "").strip()
        labels.append(Label(_spaced(name), _CATEGORIES.get(category, category)))
    return labels


def _spaced(name: str) -> str:
    # Faces such as `^_^` and `0_0` stay as they are.
    return name.replace("_", " ") if _LETTERS.search(name) else name


def _wrong(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        "The labels of the ONNX model cannot be used",
        where=str(path),
        remedy=f"{why}; see STASHHOG_ONNX__LABELS",
    )
