"""The settings of models: an AI server, an image tagger, a text model."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from stashhog_core.stash_settings import Address, Key, Section


class TaggerSettings(Section):
    """What is made of spans of time in which a tag was seen."""

    frame_interval_seconds: float = Field(
        default=2, gt=0, description="Time between the frames that are judged."
    )
    threshold: float = Field(
        default=0.3, gt=0, le=1, description="Least confidence of a tag."
    )
    required_tag_seconds: float = Field(
        default=20,
        ge=0,
        description="A tag must be seen so long to be proposed (interface v3).",
    )
    markers: bool = Field(default=True, description="Propose markers for spans.")
    merge_gap_seconds: float = Field(
        default=4, ge=0, description="Spans of a tag so near become one marker."
    )
    least_marker_seconds: float = Field(
        default=0, ge=0, description="Shorter spans become no marker."
    )
    tag_names: dict[str, str] = Field(
        default_factory=dict,
        description="The server's tag names to yours (JSON object); an empty name: "
        "never proposed.",
    )
    tag_suffix: str = Field(
        default="", description="Put after each of its tags' names, such as _AI."
    )


class AiServerSettings(TaggerSettings):
    """The AI tagging server."""

    url: Address | None = Field(
        default=None,
        description="Address of the AI server; none: your ONNX model looks at videos, "
        "else title cards are read.",
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of further certificates to trust at the AI server.",
    )
    interface: Literal["v1", "v3"] = Field(
        default="v1",
        description="Version of its interface: v1 judges and renames tags by the "
        "server's own table, v3 leaves that to the settings here.",
    )
    path_map: dict[str, str] = Field(
        default_factory=dict,
        description="Stash's path prefix to the AI server's (JSON object).",
    )
    parallel_requests: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Videos it gets at a time; fewer while others keep it busy.",
    )
    timeout_seconds: float = Field(
        default=3700, gt=0, description="Longest wait for one video."
    )
    vr_video: bool = Field(default=False, description="Videos are for VR headsets.")
    status_tags: bool = Field(
        default=False,
        description="Mark scenes with AI_Tagged or AI_Errored, and take AI_TagMe away.",
    )


class OnnxSettings(TaggerSettings):
    """An image-tagging model of one's own, run on this machine."""

    model: Path | None = Field(
        default=None, description="Your image-tagging model (.onnx); none: none."
    )
    labels: Path | None = Field(
        default=None,
        description="The names of its outputs, in order: lines of text, or a CSV file "
        "with a column `name` (and `category`), such as selected_tags.csv.",
    )
    threshold: float = Field(
        default=0.5, gt=0, le=1, description="Least confidence of a tag in a frame."
    )
    required_tag_seconds: float = Field(
        default=20, ge=0, description="A tag must be seen so long to be proposed."
    )
    tag_names: dict[str, str] = Field(
        default_factory=dict,
        description="Its labels to your tag names (JSON object); an empty name: never "
        "proposed.",
    )
    skipped_categories: tuple[str, ...] = Field(
        default=("rating",),
        description="Categories of a CSV label file never proposed (JSON list).",
    )
    size: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="Side of its pictures in pixels; none: the model's own, else 224.",
    )
    fit: Literal["pad", "stretch"] = Field(
        default="pad",
        description="How a frame is brought to its picture: pad (white) or stretch.",
    )
    channels: Literal["auto", "rgb", "bgr"] = Field(
        default="auto",
        description="Order of colours: rgb or bgr; auto: rgb if they come before rows "
        "and columns (NCHW), else bgr, as taggers of that form have it.",
    )
    pixels: Literal["auto", "bytes", "unit", "signed", "imagenet"] = Field(
        default="auto",
        description="Range of a colour: bytes (0 to 255), unit (0 to 1), signed (-1 to "
        "1) or imagenet (by ImageNet's mean and deviation); auto: imagenet for NCHW of "
        "floats, else bytes.",
    )
    outputs: Literal["auto", "probabilities", "logits", "softmax"] = Field(
        default="auto",
        description="What it gives: probabilities, logits, or logits of which one "
        "label wins (softmax); auto: logits if any lie outside 0 to 1.",
    )


class TextModelSettings(Section):
    """A text model behind any endpoint that speaks OpenAI's interface."""

    base_url: Address | None = Field(
        default=None,
        description="Its address, such as http://localhost:11434/v1; none: no text "
        "model is asked.",
    )
    model: str = Field(default="", description="Name of the model there.")
    api_key: Key | None = Field(default=None, description="Its key, if it has.")
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of further certificates to trust at the text model.",
    )
    parallel_requests: int = Field(
        default=2, ge=1, le=64, description="Scenes it is asked about at a time."
    )
    timeout_seconds: float = Field(
        default=120, gt=0, description="Longest wait for one answer."
    )
    retries: int = Field(
        default=2, ge=0, le=10, description="Further tries when it is busy or away."
    )
    candidates: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="Most names of each kind it is offered: those of your library that "
        "share a word with the scene's texts.",
    )
    tags: tuple[str, ...] = Field(
        default=(), description="Tags of your library it is always offered (JSON list)."
    )
    input_price: float = Field(
        default=0, ge=0, description="Price of a million tokens sent."
    )
    output_price: float = Field(
        default=0, ge=0, description="Price of a million tokens answered."
    )
    currency: str = Field(default="USD", description="Of the prices.")
