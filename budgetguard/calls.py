"""
What adapters say: what a call may use (`Call`), and what it did use (`Answer`).

An adapter is a table of `Endpoint`s. Its readers are pure functions over the
plain JSON of a request, a reply, or the items of a stream; they never touch the
ledger, a price, or the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

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


def tokens_in(usage: Usage) -> int:
    """The tokens of a usage: input and output, of which all other kinds of tokens are parts."""
    return usage.get("input_tokens", 0) + usage.get("output_tokens", 0)


class Host(NamedTuple):
    """What is known of the host that a request goes to, for the model it asks for; the default: nothing is."""

    name: str = ""
    """In lower case, without a port."""
    openai: bool = False
    """Whether it is OpenAI's own API or Azure's, whose defaults and free operations are the SDK's."""
    cap: str | None = "max_tokens"
    """Chat's field for an output cap; `None` where every name of it is refused."""
    usage: bool = True
    """Whether `stream_options.include_usage` may be asked for."""
    billed: frozenset[int] = frozenset()
    """Error statuses that it bills."""
    stops: bool = False
    """Whether it stops writing, and billing, where its reader leaves a stream."""
    tiers: bool = False
    """Whether a project there may be set to a dearer service tier, which a request leaves by `service_tier`."""
    default_cap: int | None = None
    """The output cap of legacy completions where none is stated."""
    known: bool = False
    """Whether the table has a row for it."""
    refuses: Mapping[str, int] = NOTHING
    """Fields that it was seen to refuse, and the least number that was too much (0: any value)."""

    def takes(self, field: str, value: Any) -> bool:
        """Whether a field of ours may be sent with this value, as far as is known."""
        if field not in self.refuses:
            return True
        least = self.refuses[field]
        return least > 0 and isinstance(value, int) and value < least


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
    region: str = ""
    """Where it asks to be processed, if that has a price of its own."""
    kept: str = ""
    """The kind of its input where all of it may be of one that is dearer: kept longer in a cache, or sound."""
    user: str | None = None
    """The end user that the request itself names."""
    background: bool = False
    """Whether the answer only says that work began, and a later retrieve shows its usage."""
    runs_ms: int = 0
    """How long that work may take, in milliseconds; 0: as long as a background response."""
    file: str | None = None
    """The id of an uploaded file with the requests that this one has done (a batch); "" if it names none."""
    requests: Iterable[Call] | None = None
    """The requests of a batch that has them in its body, each read as it is asked for; they are gone through once."""
    unknown_input: bool = False
    """Whether input that the body does not show is billed too (a stored conversation, a film behind a URL):
    the model's whole context is then the bound of the input."""
    context: int = 0
    """A larger context than the model has by itself, if the request asks for one."""
    thinks: bool = False
    """Whether the answer may have billed output that its stream does not show: hidden reasoning."""
    unread: bool = False
    """Whether the body could not be read: it is sent as it is, and nothing is known of it."""
    also: Sequence[tuple[str, Usage]] = ()
    """The most that other models can use on behalf of this call: (model, usage) of an SVG's author."""
    tools: Tools | None = None
    """The hosted tools of a response."""
    others: Sequence[str] = ()
    """Other models that may answer instead: the dearest counts."""


UNREAD = Call("", unknown_input=True)
"""A request whose body cannot be read: any model, any input."""


class Heard(NamedTuple):
    """What was written of an answer, as far as it is known: to be counted, where no usage says how much it was."""

    text: str = ""
    more: int = 0
    """UTF-8 bytes of text behind that, which were not kept."""
    pieces: int = 0
    """Items of a stream that carried text: each is at least one token."""
    running: bool = False
    """Whether this came after a running total, which has counted all before it."""


class Share(NamedTuple):
    """What those of a batch's answers used that have the same prices."""

    model: str | None
    usage: Usage
    """In all; `requests` is how many answers that is."""
    longest: int
    """The most input tokens of one of them."""
    region: str | None = None
    """As in an answer."""


class Answer(NamedTuple):
    """What a reply, or all that was heard of a stream, says of its cost."""

    model: str | None = None
    usage: Usage | None = None
    """`None`: the reply did not say."""
    tier: str | None = None
    """The service tier that was used."""
    region: str | None = None
    """Where it was processed: "" has no price of its own, `None` is not said."""
    cost: int | None = None
    """The cost in nano-dollars where the provider itself states one (OpenRouter, xAI, a LiteLLM proxy); never 0."""
    id: str | None = None
    """The provider's id of the response, by which a later retrieve finds it."""
    final: bool = True
    """`False` while a background response still runs."""
    free: bool = False
    """The provider says that nothing was billed: an error, a background response that failed unstarted."""
    cut: bool = False
    """Whether the answer ended at the output cap."""
    also: Sequence[tuple[str, Usage]] = ()
    """What other models used on behalf of this call, not in `usage`: (model, usage) of an image tool."""
    requests: int | None = None
    """How many requests of a batch were answered; `None` if that is not said, or it is no batch."""
    fee: int = 0
    """Nano-dollars that are billed beside the usage."""
    lacks: Sequence[str] = ()
    """
    What the usage does not say, or not to the end, of `input_tokens` and `output_tokens`: it is estimated. Where it
    lacks both, it may have `total_tokens`.
    """
    heard: Heard = Heard()
    """What was written, to estimate the output."""
    exact: bool = False
    """Whether the input in the usage is the bill's, though the output is not known."""
    shares: Sequence[Share] = ()
    """The parts of a batch's usage, as each is to be priced; of answers that said none, there is none."""


class Listener(Protocol):
    """Listens to the items of one stream, in order; never raises on an item it does not know."""

    done: bool
    """Whether what was heard is the last word: nothing later can change it."""

    def hear(self, item: Any) -> bool:
        """Take in an item (a mapping, or an SDK object). `True`: it is the usage chunk that only we asked for."""
        ...

    def end(self) -> Answer:
        """What the stream said of its cost, now that it is over, or that nobody listens any more."""
        ...


Reply: TypeAlias = Callable[[Any], Answer]

ReadRequest: TypeAlias = Callable[[Mapping[str, Any], Sequence[Any], Host], Call]
"""Reads a body (a mapping) and the files of a multipart one, for a host."""

Amend: TypeAlias = Callable[[Mapping[str, Any], int | None, bool, Host], dict[str, Any]]
"""Amends a body, as `Endpoint.amend` says."""

Ending: TypeAlias = Literal["whole", "left", "dropped"]
"""How a stream ended: read to its end; closed or broken off before; or forgotten, and found by the collector."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of a provider's HTTP API, and how to read it."""

    name: str
    """The SDK's name: "chat.completions"."""
    method: str
    """In upper case."""
    path: str
    """The path below the API's root; `{id}` stands for one segment."""
    request: ReadRequest | None
    """Reads its request; `None` for an operation that is free, or a look at another."""
    answer: Reply | None = None
    """Reads a reply: a mapping or an SDK object."""
    listener: Callable[[], Listener] | None = None
    """Makes the listener of one stream; `None` if the operation does not stream."""
    amend: Amend | None = None
    """
    `amend(body, cap, ask_usage, host)`: a copy of the body with an output cap and/or the wish for usage in the
    stream, as this host understands them.
    """
    lower: Callable[[Mapping[str, Any], int], dict[str, Any]] | None = None
    """
    `lower(body, cap)`: the fields that state an output cap, none above this one; `None` where a stated cap stays.
    """
    instead: Callable[[Mapping[str, Any], str, Host], Mapping[str, Any] | None] | None = None
    """
    `instead(body, model, host)`: the body that asks another model for the same, as a host takes it of that; `None` for
    one that asks for what only its own model has. Without it, no other model can be asked at all.
    """
    follows: str = ""
    """The operation whose work in the background this is a look at (a retrieve, a cancel), which settles its hold."""
    lines: bool = False
    """Whether its reply is lines of JSON, which its listener hears: a look that is at its end with the last of them."""
    items: Callable[[Any], Sequence[Any]] | None = None
    """The replies in a reply to a look at several; `answer` reads each."""
    uploads: Literal["", "file", "begin", "part", "complete"] = ""
    """
    Whether it uploads a file, which may be the requests of a batch, or what it does of an upload in parts; `answer`
    reads the id of the file, the upload or the part.
    """
    free_at_home: bool = False
    """Whether it costs nothing at OpenAI's own hosts (moderations)."""
    opaque: bool = False
    """Whether its reply cannot settle it (jobs, realtime sessions): refused where there is no room, else warned of."""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The API that the bytes speak: its operations, wherever they are served."""

    find: Callable[[str, str], Endpoint | None]
    """The endpoint of a request, by its method and path; `None` if it costs nothing, as far as is known."""
    may_cost: Callable[[str, str], bool]
    """Whether a request that is not in the table may cost something all the same."""
    cap_field: Callable[[Endpoint, Host], str | None]
    """The request's field for an output cap, as a host understands it; `None` if there is none."""
    headed: Callable[[Call, Mapping[str, Any]], Call] | None = None
    """A call with what its headers ask for, where an API has such."""
    located: Callable[[Mapping[str, Any], str], Mapping[str, Any]] | None = None
    """`located(body, path)`: a body with what its path asks for, the model, where an API has it there."""
    relocated: Callable[[str, str], str | None] | None = None
    """`relocated(url, model)`: the same with another model; `None` where what it names is more than a model."""


class Opening(NamedTuple):
    """A message that has the other side of a socket begin to work."""

    body: Mapping[str, Any]
    """What it asks for, as the `request` of the socket's endpoint reads it."""
    event: Mapping[str, Any] = NOTHING
    """The message itself."""
    id: str | None = None
    """The client's own id of it, which an error names."""
    ends: Answer | None = None
    """What the work before it came to, which it ends."""


class News(NamedTuple):
    """What one message from the other side of a socket says of what it costs."""

    what: Literal["begun", "ended", "beside", "refused"]
    """
    `begun`: work has an id now; `ended`: it is over; `refused`: it was not begun. `beside`: other work is over, for
    which no message of ours asked.
    """
    id: str | None = None
    """That of the work; of what was refused, the client's own. `None`: it is not said."""
    answer: Answer = Answer()
    body: Mapping[str, Any] = NOTHING
    """What is known of what was asked for, where nobody did."""


class Talk(Protocol):
    """
    One conversation over a socket, followed message by message; it never raises.

    One thread may send while another receives.
    """

    def sent(self, message: str | bytes, idle: bool) -> Opening | None:
        """Take in a message that is about to be sent: what it has begun, if so. `idle`: no work is under way."""
        ...

    def amended(self, opening: Opening, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The message with these fields of its request: an output cap; its own object if nothing changes."""
        ...

    def heard(self, message: str | bytes) -> Sequence[News]:
        """Take in a message that was received, and what it says."""
        ...

    def asked(self) -> Mapping[str, Any]:
        """What is asked for, as far as it is known: the model."""
        ...

    def last(self) -> Answer | None:
        """What the work under way came to by now, if that is known here: nobody will say more."""
        ...


@dataclass(frozen=True, slots=True)
class Socket:
    """One kind of conversation over a WebSocket, and how it is followed."""

    endpoint: Endpoint
    """Reads what is asked for; `opaque` where nobody can say what it costs."""
    talk: Callable[[Mapping[str, str]], Talk]
    """Begins one, by the query of its URL."""
    alone: bool = False
    """Whether the other side may begin work that nobody asked for."""


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
