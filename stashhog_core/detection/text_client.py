"""Client of a text model: OpenAI's chat interface at any address, answers as JSON.

The package `openai` is an optional extra. It sends requests only to the address of the
settings.
"""

import importlib.util
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from stashhog_core.errors import ConfigurationError, Deferred, ItemError, StashHogError
from stashhog_core.http import (
    certificate_fault,
    tls_context,
    untrusted,
)
from stashhog_core.loopback import is_loopback
from stashhog_core.settings.taggers import TextModelSettings

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletion

_SHOWN_CHARACTERS = 200
_CONNECT_TIMEOUT_SECONDS = 10.0
_CA_FILE = "STASHHOG_TEXT_MODEL__CA_FILE"
_MILLION = 1_000_000
_ANOTHER_MODEL = (
    "if this happens often, choose another model with STASHHOG_TEXT_MODEL__MODEL"
)
# Headers with which the package describes this machine to the endpoint.
_OF_THIS_MACHINE = tuple(
    f"X-Stainless-{what}"
    for what in ("OS", "Arch", "Runtime", "Runtime-Version", "Lang", "Package-Version")
)


@dataclass(frozen=True)
class TextAnswer:
    """The answer of a text model (JSON text), and its costs."""

    text: str
    model: str
    tokens_in: int
    tokens_out: int


class TextClient:
    """A connection to a text model. Close it, or use it in a `with` statement.

    Raises:
        ConfigurationError: `openai` is not installed, or no model is named.
    """

    def __init__(self, settings: TextModelSettings) -> None:
        if importlib.util.find_spec("openai") is None:
            raise ConfigurationError(
                "The text model cannot be used: the package openai is not installed",
                remedy="install stashhog[text] (`make extras` in a checkout), or leave "
                "STASHHOG_TEXT_MODEL__BASE_URL empty",
            )
        if not settings.model:
            raise ConfigurationError(
                "The text model has no name",
                remedy="set STASHHOG_TEXT_MODEL__MODEL to the name of a model at "
                f"{settings.base_url}",
            )
        self._settings = settings
        self._client = _client(settings)
        self._lock = threading.Lock()
        self._requests = self._tokens_in = self._tokens_out = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, system: str, user: str, schema: Mapping[str, Any]) -> TextAnswer:
        """Return the model's answer, which should follow the JSON schema.

        Raises:
            ItemError: The model refused, or the answer is incomplete or malformed.
            Deferred: The endpoint is unreachable or overloaded, also after retries.
            ConfigurationError: The key, the model's name or the address is wrong.
        """
        import openai

        try:
            completion = self._client.chat.completions.create(
                model=self._settings.model,
                messages=[
                    {"role": "system", "content": system},
                    {"role": "user", "content": user},
                ],
                response_format={
                    "type": "json_schema",
                    "json_schema": {
                        "name": "found",
                        "strict": True,
                        "schema": dict(schema),
                    },
                },
                temperature=0,
            )
        except openai.OpenAIError as error:
            raise self._translated(error) from error
        except (ValueError, RecursionError) as error:
            raise ItemError(
                f"The text model's answer cannot be read ({error})",
                remedy="check STASHHOG_TEXT_MODEL__BASE_URL",
            ) from error
        return self._answer(completion)

    def models(self) -> list[str]:
        """Return the names of the endpoint's models; none: it does not list them.

        Raises:
            Deferred: The endpoint is unreachable or overloaded.
            ConfigurationError: The key is wrong.
        """
        import openai

        try:
            return sorted(model.id for model in self._client.models.list())
        except openai.NotFoundError:
            return []
        except openai.OpenAIError as error:
            raise self._translated(error) from error
        except (ValueError, TypeError, RecursionError):
            return []

    def costs(self) -> dict[str, float | str]:
        """Return requests, tokens and money of all answers so far, bad answers too."""
        with self._lock:
            if not self._requests:
                return {}
            return {
                "requests": self._requests,
                "tokens_in": self._tokens_in,
                "tokens_out": self._tokens_out,
                "money": self.price(self._tokens_in, self._tokens_out),
                "currency": self._settings.currency,
            }

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """Return the price of tokens in the currency of the settings."""
        price = (
            tokens_in * self._settings.input_price
            + tokens_out * self._settings.output_price
        )
        return round(price / _MILLION, 6)

    def _answer(self, completion: Any) -> TextAnswer:
        choices = getattr(completion, "choices", None)
        if not choices:
            raise ItemError(
                "The server at this address is no text model. It answered: "
                f"{str(completion)[:_SHOWN_CHARACTERS]}",
                remedy="check STASHHOG_TEXT_MODEL__BASE_URL",
            )
        tokens_in, tokens_out = self._counted(completion)
        choice = choices[0]
        if refusal := getattr(choice.message, "refusal", None):
            raise ItemError(
                f"The text model refused: {refusal[:_SHOWN_CHARACTERS]}",
                remedy=_ANOTHER_MODEL,
            )
        if choice.finish_reason in ("length", "content_filter"):
            raise ItemError(
                f"The text model's answer was cut off ({choice.finish_reason})",
                remedy=_ANOTHER_MODEL,
            )
        if not choice.message.content:
            raise ItemError(
                "The text model gave an empty answer", remedy=_ANOTHER_MODEL
            )
        return TextAnswer(
            choice.message.content,
            completion.model or self._settings.model,
            tokens_in,
            tokens_out,
        )

    def _counted(self, completion: "ChatCompletion") -> tuple[int, int]:
        usage = completion.usage
        tokens_in = (usage.prompt_tokens or 0) if usage else 0
        tokens_out = (usage.completion_tokens or 0) if usage else 0
        with self._lock:
            self._requests += 1
            self._tokens_in += tokens_in
            self._tokens_out += tokens_out
        return tokens_in, tokens_out

    def _translated(self, error: "openai.OpenAIError") -> StashHogError:
        import openai

        where = str(self._settings.base_url)
        if why := certificate_fault(error):
            return untrusted("the text model", why, where, _CA_FILE)
        said = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return ConfigurationError(
                f"The text model does not accept the key ({error.status_code})",
                where=where,
                remedy="set STASHHOG_TEXT_MODEL__API_KEY",
            )
        if isinstance(error, openai.NotFoundError):
            return ConfigurationError(
                f"There is no text model {self._settings.model!r} at this address",
                where=where,
                remedy="check STASHHOG_TEXT_MODEL__MODEL and …__BASE_URL, which often "
                "ends in /v1",
            )
        away = openai.APIConnectionError | openai.RateLimitError
        if isinstance(error, away | openai.InternalServerError):
            if isinstance(error, openai.APITimeoutError):
                said = f"no answer in {self._settings.timeout_seconds:g} s"
            return Deferred(
                f"The text model is unreachable or overloaded ({said})",
                where=where,
                remedy="start the text model, or check STASHHOG_TEXT_MODEL__BASE_URL; "
                "the scenes stay unanalyzed",
            )
        return ItemError(
            f"The text model refused the request ({said})", remedy=_ANOTHER_MODEL
        )


def _client(settings: TextModelSettings) -> "openai.OpenAI":
    import openai

    host = urlsplit(settings.base_url or "").hostname or ""
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    client = openai.OpenAI(
        base_url=settings.base_url,
        # Without a key the package uses OPENAI_API_KEY, which is for OpenAI only.
        api_key=key or "none",
        timeout=openai.Timeout(
            settings.timeout_seconds,
            connect=min(_CONNECT_TIMEOUT_SECONDS, settings.timeout_seconds),
        ),
        max_retries=settings.retries,
        # A proxy from the environment cannot reach services on this machine.
        http_client=openai.DefaultHttpxClient(
            trust_env=not is_loopback(host),
            verify=tls_context(settings.ca_file, _CA_FILE),
        ),
        default_headers=dict.fromkeys(_OF_THIS_MACHINE, openai.Omit()),  # type: ignore[arg-type]
    )
    # The package would take these from the environment, too.
    client.organization = client.project = None
    return client
