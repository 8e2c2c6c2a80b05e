"""The settings of models: an AI server, an image tagger, a text model."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from stashhog_core.settings.stash import Address, Key, Section


class TaggerSettings(Section):
    """What is made of spans of time in which a tag was seen."""

    frame_interval_seconds: float = Field(default=2, gt=0)
    """Time between the frames of a video that are tagged, in seconds."""

    threshold: float = Field(default=0.3, gt=0, le=1)
    """Minimum confidence of a tag in a frame (above 0, at most 1)."""

    required_tag_seconds: float = Field(default=20, ge=0)
    """Number of seconds for which a tag must be seen in a video to be proposed. Applies
    to interface v3 only."""

    markers: bool = True
    """Propose a marker for each span of time in which a tag is seen."""

    merge_gap_seconds: float = Field(default=4, ge=0)
    """Maximum gap in seconds between two spans of the same tag that become one marker.
    """

    least_marker_seconds: float = Field(default=0, ge=0)
    """Minimum length in seconds of a span that becomes a marker. 0 accepts every span.
    """

    tag_names: dict[str, str] = Field(default_factory=dict)
    """The AI server's tag names and the names of your tags (JSON object). A tag with an
    empty name is never proposed."""

    tag_suffix: str = ""
    """Suffix that is added to the name of each proposed tag, such as _AI."""


class AiServerSettings(TaggerSettings):
    """The AI tagging server."""

    url: Address | None = None
    """Address of the AI server. If empty, your ONNX model tags the videos; without an
    ONNX model, only title cards are read."""

    ca_file: Path | None = None
    """PEM file of additional certificates to trust when StashHog connects to the AI
    server."""

    interface: Literal["v1", "v3"] = "v1"
    """Version of the AI server's interface. With v1 the server itself selects and
    renames tags by its own table; with v3 the settings in this section do."""

    path_map: dict[str, str] = Field(default_factory=dict)
    """Path prefixes of Stash and the AI server's folders that they stand for (JSON
    object)."""

    parallel_requests: int = Field(default=1, ge=1, le=64)
    """Number of videos that are sent to the AI server in parallel (1 to 64). StashHog
    sends fewer while other programs keep the server busy."""

    timeout_seconds: float = Field(default=3700, gt=0)
    """Maximum time to wait for the tags of one video, in seconds."""

    vr_video: bool = False
    """Tell the AI server that the videos are made for VR headsets."""

    status_tags: bool = False
    """Propose the tag AI_Tagged for each tagged scene, or AI_Errored for each scene
    that failed, and propose to remove the tag AI_TagMe."""


class OnnxSettings(TaggerSettings):
    """An image-tagging model of one's own, run on this machine."""

    model: Path | None = None
    """File of your image-tagging model (.onnx). If empty, no ONNX model is used."""

    labels: Path | None = None
    """File with the names of the model's outputs in order: a text file with one name
    per line, or a CSV file with a column `name` (and `category`), such as
    selected_tags.csv."""

    threshold: float = Field(default=0.5, gt=0, le=1)
    """Minimum confidence of a tag in a frame (above 0, at most 1)."""

    required_tag_seconds: float = Field(default=20, ge=0)
    """Number of seconds for which a tag must be seen in a video to be proposed."""

    tag_names: dict[str, str] = Field(default_factory=dict)
    """The model's labels and the names of your tags (JSON object). A label with an
    empty name is never proposed."""

    skipped_categories: tuple[str, ...] = ("rating",)
    """Categories of a CSV label file whose tags are never proposed (JSON list)."""

    size: int | None = Field(default=None, ge=8, le=4096)
    """Width and height in pixels of the model's input (8 to 4096). If empty, the
    model's own size applies, or 224 if the model accepts any size."""

    fit: Literal["pad", "stretch"] = "pad"
    """How a frame is fitted to the model's input: pad (with white) or stretch."""

    channels: Literal["auto", "rgb", "bgr"] = "auto"
    """Order of the colours in the model's input: rgb, bgr or auto. auto means rgb for
    models with the layout NCHW, and bgr for all other models."""

    pixels: Literal["auto", "bytes", "unit", "signed", "imagenet"] = "auto"
    """Range of the colour values in the model's input: bytes (0 to 255), unit (0 to 1),
    signed (-1 to 1), imagenet (scaled by ImageNet's mean and deviation) or auto. auto
    means imagenet for models with the layout NCHW and floats, and bytes for all other
    models."""

    outputs: Literal["auto", "probabilities", "logits", "softmax"] = "auto"
    """What the model's outputs are: probabilities, logits, softmax (logits of which
    only one label can win) or auto. auto means logits if any output lies outside 0 to
    1."""


class TextModelSettings(Section):
    """A text model behind any endpoint that speaks OpenAI's interface."""

    base_url: Address | None = None
    """Address of an OpenAI-compatible text model, such as http://localhost:11434/v1. If
    empty, no text model is used."""

    model: str = ""
    """Name of the model at this address."""

    api_key: Key | None = None
    """API key of the text model. Leave the key empty if the text model needs none."""

    ca_file: Path | None = None
    """PEM file of additional certificates to trust when StashHog connects to the text
    model."""

    parallel_requests: int = Field(default=2, ge=1, le=64)
    """Number of scenes about which the text model is asked in parallel (1 to 64)."""

    timeout_seconds: float = Field(default=120, gt=0)
    """Maximum time to wait for one answer of the text model, in seconds."""

    retries: int = Field(default=2, ge=0, le=10)
    """Number of additional tries when the text model is busy or unreachable (0 to 10).
    """

    candidates: int = Field(default=100, ge=1, le=1000)
    """Maximum number of names of each kind that are offered to the text model (1 to
    1000). StashHog offers the names in your library that share a word with the scene's
    texts."""

    tags: tuple[str, ...] = ()
    """Tags of your library that are always offered to the text model (JSON list)."""

    input_price: float = Field(default=0, ge=0)
    """Price of a million input tokens."""

    output_price: float = Field(default=0, ge=0)
    """Price of a million output tokens."""

    currency: str = "USD"
    """Currency of the prices above, for example USD."""
