"""
What adapters say: what a call may use (`Call`), and what it did use (`Answer`).

An adapter is a table of `Endpoint`s. Its readers are pure functions over the
plain JSON of a request, a reply, or the items of a stream; they never touch the
ledger, a price, or the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias

Usage: TypeAlias = Mapping[str, int]
"""
Counts by kind. The kinds are those of genai-prices (`input_tokens`, `output_tokens`, `cache_read_tokens`,
`cache_write_tokens`, `input_audio_tokens`, `output_image_tokens`, `web_searches`, `input_characters`,
`input_audio_seconds`, ...), and ours where it has none: `images/{quality}/{size}` (pictures made),
`video_seconds/{size}`, `file_searches` is `storage_searches`.

A kind that is part of another is counted in both: `input_tokens` is all input, cached, audio and image tokens
included; `output_tokens` is all output, reasoning included.
"""

NOTHING: Usage = MappingProxyType({})


class Host(NamedTuple):
    """What is known of the host that a request goes to; the default: nothing is."""

    name: str = ""
    """In lower case, without a port."""
    openai: bool = False
    """Whether it is OpenAI's own API or Azure's, whose defaults and free operations are the SDK's."""
    cap: str = "max_tokens"
    """Chat's field for an output cap, of a model of which nothing else is known."""
    usage: bool = False
    """Whether it understands `stream_options.include_usage`."""
    billed: frozenset[int] = frozenset()
    """Error statuses that it bills."""
    stops: bool = False
    """Whether it stops writing, and billing, where its reader leaves a stream."""


UNKNOWN_HOST = Host()


class Tools(NamedTuple):
    """The hosted tools of one request: each call of one has a fee, and has the model read its context once more."""

    calls: int
    """The most calls of all of them together."""
    fees: Usage = NOTHING
    """Of one call."""
    also: Sequence[tuple[str, Usage]] = ()
    """What other models use for one call: (model, usage) of an image tool."""
    cap: str | None = None
    """The request's field by which we may bound the calls, or `None` where the caller did, or the host has none."""


class Call(NamedTuple):
    """The most that one request can use, read from its body."""

    model: str
    texts: Sequence[str] = ()
    """Every text that is billed as input, to be counted in tokens."""
    overhead: int = 0
    """Tokens that the format adds to the texts: roles, names, priming, tool framing."""
    images: int = 0
    """Pictures in the input, each bounded by the model's table."""
    fixed: Usage = NOTHING
    """The most of every other kind: characters, audio seconds, pictures made, tool calls, stored context."""
    choices: int = 1
    """Answers asked for (`n`): the output cap counts for each."""
    max_output: int | None = None
    """The output cap that the caller stated, in tokens an answer; `None` if none was."""
    output: bool = True
    """Whether the answer has output tokens at all (embeddings have not)."""
    default_output: int | None = None
    """The cap that the endpoint itself applies where none is stated (16 for legacy completions)."""
    cap: str | None = None
    """The request's field for an output cap, or `None` where the endpoint has none."""
    least_output: int = 1
    """The smallest cap that the endpoint accepts, in tokens."""
    stream: bool = False
    tier: str | None = None
    """The service tier asked for."""
    user: str | None = None
    """The end user that the request itself names."""
    background: bool = False
    """Whether the answer only says that work began, and a later retrieve shows its usage."""
    unknown_input: bool = False
    """Whether input that the body does not show is billed too (a stored conversation, a film behind a URL):
    the model's whole context is then the bound of the input."""
    thinks: bool = False
    """Whether the answer may have billed output that its stream does not show: hidden reasoning."""
    also: Sequence[tuple[str, Usage]] = ()
    """The most that other models can use on behalf of this call: (model, usage) of an SVG's author."""
    tools: Tools | None = None
    """The hosted tools of a response."""
    others: Sequence[str] = ()
    """Other models that may answer instead: the dearest counts."""


UNREAD = Call("", unknown_input=True)
"""A request whose body cannot be read: any model, any input."""


class Answer(NamedTuple):
    """What a reply, or a stream's last item, says of its cost."""

    model: str | None = None
    usage: Usage | None = None
    """`None`: the reply did not say."""
    tier: str | None = None
    """The service tier that was used."""
    cost: int | None = None
    """The cost in nano-dollars where the provider itself states one (OpenRouter, a LiteLLM proxy)."""
    id: str | None = None
    """The provider's id of the response, by which a later retrieve finds it."""
    final: bool = True
    """`False` while a background response still runs."""
    free: bool = False
    """The provider says that nothing was billed (a background response that failed or was cancelled unstarted)."""
    cut: bool = False
    """Whether the answer ended at the output cap."""
    also: Sequence[tuple[str, Usage]] = ()
    """What other models used on behalf of this call, not in `usage`: (model, usage) of an image tool."""


class Listener(Protocol):
    """Listens to the items of one stream, in order; never raises on an item it does not know."""

    answer: Answer | None
    """The best answer so far."""
    done: bool
    """Whether `answer` is the last word: nothing later can change it."""
    pieces: int
    """Items that carried output text."""
    heard: int
    """UTF-8 bytes of output text so far (tool arguments, refusals and reasoning summaries included)."""

    def hear(self, item: Any) -> bool:
        """Take in an item (a mapping, or an SDK object). `True`: it is the usage chunk that only we asked for."""
        ...


Reply: TypeAlias = Callable[[Any], Answer]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of a provider's HTTP API, and how to read it."""

    name: str
    """The SDK's name: "chat.completions"."""
    method: str
    """In upper case."""
    path: str
    """The path below the API's root; `{id}` stands for one segment."""
    request: Callable[[Mapping[str, Any], Sequence[Any], Host], Call] | None
    """Reads the body (a mapping) and the multipart files for a host; `None` for a free or follow-up operation."""
    answer: Reply | None = None
    """Reads a reply: a mapping or an SDK object."""
    listener: Callable[[], Listener] | None = None
    """Makes the listener of one stream; `None` if the operation does not stream."""
    amend: Callable[[Mapping[str, Any], int | None, bool, str], dict[str, Any]] | None = None
    """
    `amend(body, cap, ask_usage, host)`: a copy of the body with an output cap and/or the wish for usage in the
    stream, as this host understands them.
    """
    follows: bool = False
    """Whether this is a look at an earlier background response (a retrieve, a cancel), which settles its hold."""
    free_at_home: bool = False
    """Whether it costs nothing at OpenAI's own hosts (moderations)."""
    opaque: bool = False
    """Whether its reply cannot settle it (jobs, realtime sessions): refused where there is no room, else warned of."""
    tags: Mapping[str, str] = field(default_factory=dict)


def read(item: Any, name: str) -> Any:
    """
    A field of plain JSON or of an SDK object, `None` where it is not there.

    SDK objects are read through `__dict__`: `getattr` for a missing field of a pydantic model takes microseconds.
    """
    if type(item) is dict:
        return item.get(name)
    try:
        value = item.__dict__.get(name)
        if value is None:
            extra = item.__pydantic_extra__
            value = extra.get(name) if extra else None
    except AttributeError:
        return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)
    return value


def count(item: Any, name: str) -> int:
    """A field that counts something: a whole number of at least 0, rounded up; 0 where it is missing or no number."""
    value = read(item, name)
    if type(value) is int:
        return max(value, 0)
    if isinstance(value, float) and 0 < value < float("inf"):
        return -int(-value // 1)
    return 0
