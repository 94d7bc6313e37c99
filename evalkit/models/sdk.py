"""What the adapters around the vendors' own SDKs share: connections, errors, rate headers.

The SDKs of OpenAI and Anthropic name their clients' methods and their errors alike.
"""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

from evalkit.config.model_spec import ModelSpec
from evalkit.errors import InputError, ModelError, TransientError, UnreachableError
from evalkit.models.http_errors import error_for, hide_secrets, rate_headers
from evalkit.models.parameters import estimate_tokens, identity_of, json_object, read_key
from evalkit.models.prices import price_of
from evalkit.models.protocol import Capabilities
from evalkit.records import Record, Request, Response

Json = dict[str, Any]

_OPEN_TIMEOUT_S = 5.0


class SdkParams(Record, frozen=True, kw_only=True):
    """Parameters of every adapter around an SDK.

    Args:
        base_url: Another address of the same API, in the form that the SDK takes.
        api_key_env: The variable with the key.
        concurrency: Requests in flight.
        timeout_s: How long one answer may take.
        context_length: Where it is not known to evalkit.
        extra_body: A JSON object whose fields are added to every request.
    """

    base_url: str = ""
    api_key_env: str
    concurrency: int
    timeout_s: float = 600.0
    context_length: int | None = None
    extra_body: str | dict[str, Any] = ""


class SdkModel(ABC):
    """A model behind a vendor's SDK; an adapter says what is sent and what came back."""

    batch = 1
    #: What the vendor's SDK is imported as, and whose prices hold.
    vendor: ClassVar[str]
    #: Parameters that cannot change an answer, and the address, which `identity` holds anyway.
    not_identity: ClassVar[tuple[str, ...]] = (
        "api_key_env",
        "concurrency",
        "timeout_s",
        "base_url",
    )

    _params: SdkParams

    def __init__(self, spec: ModelSpec, params: SdkParams) -> None:
        self.name, self.provider = spec.label, spec.provider
        self.concurrency, self.deadline_s = params.concurrency, params.timeout_s
        self.rate_headers: dict[str, str] = {}
        self.identity = identity_of(
            spec, params, base_url=params.base_url, leave_out=self.not_identity
        )
        self._params, self._model = params, spec.name
        self._extra = json_object(params.extra_body, spec.label, "extra_body")
        self._price = price_of(self.vendor, spec.name)
        self._client: Any = None
        self._key = ""

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do."""
        price = self._price
        return Capabilities(
            chat=True,
            text=False,
            loglikelihood=False,
            tools=True,
            system=True,
            context_length=self._params.context_length or (price.context_length if price else None),
            max_output_tokens=price.max_output_tokens if price else None,
        )

    async def open(self) -> None:
        """Find the key and, at another address than the vendor's, whether a server answers.

        Raises:
            MissingKeyError: The key's variable is not set.
            UnreachableError: Nothing answers at `base_url`.
            InputError: The server there refuses the key.
        """
        self._key = read_key(self._params.api_key_env, self.name)
        self._client = self._connect()
        if not self._params.base_url:
            return
        try:
            await self._reach()
        except BaseException:  # whoever cannot open a model will not close it either
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def count_tokens(self, text: str) -> int:
        """About how many tokens `text` has: no tokenizer of the vendor's is at hand offline."""
        return estimate_tokens(text)

    async def ask(self, requests: Sequence[Request]) -> Sequence[Response | ModelError]:
        """Answer the requests, one after the other.

        Raises:
            ModelError: The attempt failed.
        """
        return [await self._answer(request) for request in requests]

    @abstractmethod
    async def _answer(self, request: Request) -> Response:
        """The answer to one request; sends it with `_post`."""

    @abstractmethod
    def _connect(self) -> Any:
        """The SDK's client, made with `_connection`."""

    @abstractmethod
    async def _send(self, client: Any, body: Json) -> bytes:
        """The answer to a body as the vendor's JSON; lets the SDK's errors through."""

    @abstractmethod
    def _refusal(self, error: Any) -> tuple[int, bytes | str]:
        """The HTTP status of an `APIStatusError`, and its body."""

    @property
    def _sdk(self) -> ModuleType:
        return importlib.import_module(self.vendor)

    def _connection(self) -> Json:
        """What every SDK's client is made with."""
        return {
            "api_key": self._key,
            "base_url": self._params.base_url or None,
            "max_retries": 0,
            "timeout": self._params.timeout_s,
            "http_client": self._transport(),
        }

    def _transport(self) -> Any:
        """The SDK's aiohttp transport where it is there: a third of the default one's CPU."""
        try:
            return self._sdk.DefaultAioHttpClient(timeout=self._params.timeout_s)
        except RuntimeError:  # an SDK without the transport's package says so this way
            return None

    async def _reach(self) -> None:
        sdk, client = self._sdk, self._client
        try:
            await client.with_options(timeout=_OPEN_TIMEOUT_S).models.with_raw_response.list()
        except (sdk.AuthenticationError, sdk.PermissionDeniedError) as error:
            raise InputError(
                f"The server at {self._params.base_url} refuses the key in "
                f"{self._params.api_key_env}: {self._model_error(error)}"
            ) from None
        except sdk.APIStatusError:
            return  # something answers there; it need not list models
        except sdk.APIConnectionError as error:
            raise UnreachableError(
                f"No server answers at {self._params.base_url} ({self._cause(error)}). "
                "Start it, or correct base_url."
            ) from None

    async def _post(self, body: Json) -> tuple[bytes, float]:
        """The answer to a body, and how many seconds it took."""
        if self._client is None:
            raise RuntimeError(f"{self.name} was asked before it was opened")
        started = time.perf_counter()
        try:
            content = await self._send(self._client, body)
        except self._sdk.APIError as error:
            raise self._model_error(error) from None
        return content, time.perf_counter() - started

    def _content(self, raw: Any) -> bytes:
        """The body of the SDK's raw response, whose rate headers are kept."""
        self._remember(raw.headers)
        content: bytes = raw.http_response.content
        return content

    def _remember(self, headers: Any) -> None:
        if limits := rate_headers(headers):
            self.rate_headers = limits

    def _model_error(self, error: Any) -> ModelError:
        """What an `APIError` of the SDK stands for."""
        if isinstance(error, self._sdk.APIStatusError):
            status, body = self._refusal(error)
            headers = error.response.headers
            self._remember(headers)
            return error_for(status, headers, body, model=self.name, secrets=[self._key])
        if isinstance(error, self._sdk.APITimeoutError):
            return TransientError(f"{self.name} did not answer within {self._params.timeout_s:g} s")
        return TransientError(f"The connection to {self.name} failed: {self._cause(error)}")

    def _cause(self, error: Exception) -> str:
        return hide_secrets(str(error.__cause__ or error), [self._key])
