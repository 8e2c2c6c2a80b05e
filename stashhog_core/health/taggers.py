"""Checks of what tags videos: the AI server, an ONNX model, OCR, a text model."""

import importlib.util

from stashhog_core.detection.ai_client import AiClient, RequestGate
from stashhog_core.detection.image_model import load_model
from stashhog_core.detection.text_client import TextClient
from stashhog_core.errors import Deferred
from stashhog_core.health.checks import Checkup, Finding, failure, good, warning


def check_ai_server(checkup: Checkup) -> Finding | None:
    """Ask the AI server for its models."""
    settings = checkup.settings.ai_server
    if settings.url is None:
        return None
    try:
        # A gate of its own: what fails here must not stop the requests of a run.
        gate = RequestGate(1)
        with AiClient(settings, gate=gate, retry_delays_seconds=()) as client:
            models = client.model_set()
    except Deferred as error:
        return failure(
            f"{error.what} ({error.where or settings.url})",
            "start the AI server, or correct STASHHOG_AI_SERVER__URL",
        )
    return good(f"answers at {settings.url}" + (f" with {models}" if models else ""))


def check_onnx(checkup: Checkup) -> Finding | None:
    """Load the ONNX model, which reads the whole file."""
    settings = checkup.settings.onnx
    if settings.model is None or checkup.settings.ai_server.url is not None:
        return None
    load_model(settings)
    return good(f"{settings.model} can be used")


def check_title_cards(checkup: Checkup) -> Finding | None:
    """See whether OCR is installed, where nothing else reads videos."""
    settings = checkup.settings
    if settings.ai_server.url is not None or settings.onnx.model is not None:
        return None
    if importlib.util.find_spec("rapidocr") is None:
        return warning(
            "no AI server and no model is set, and OCR is not installed, so StashHog "
            "reads names of files only",
            "install stashhog[ocr], or set STASHHOG_AI_SERVER__URL",
        )
    return good("OCR reads title cards")


def check_text_model(checkup: Checkup) -> Finding | None:
    """Ask the text model for the models that it has."""
    settings = checkup.settings.text_model
    if settings.base_url is None:
        return None
    limited = settings.model_copy(update={"timeout_seconds": 10, "retries": 0})
    with TextClient(limited) as client:
        names = client.models()
    if names and settings.model not in names:
        return failure(
            f"{settings.base_url} has no model {settings.model}",
            f"set STASHHOG_TEXT_MODEL__MODEL to one of {', '.join(names[:5])}",
        )
    if not names:
        return good(f"{settings.base_url} answers, and does not list its models")
    return good(f"{settings.model} at {settings.base_url}")
