"""`jobs`: what goes on in the background, and settling what has ended."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

import typer
from rich.progress import Progress

from ...adapters.anthropic.batches import ResultsListener, batch
from ...adapters.openai import find
from ...calls import Answer
from ...errors import ConfigError
from ...guards.background.background import Job
from ...ledger import Millis
from ...money import Nano
from ..common.options import JsonOption, ProjectOption, StoreOption, project, say_where
from ..common.show import console, iso, moment, money, print_json
from ..common.tables import Column, table

if TYPE_CHECKING:
    from ...guards.guard import Guard

AT_ONCE = 8

MESSAGE_BATCHES = "messages.batches"
"""The kind of job that is Anthropic's."""

UrlOption = Annotated[
    str | None,
    typer.Option(
        envvar="OPENAI_BASE_URL", metavar="URL", help="With --settle: where they were sent, if not to OpenAI."
    ),
]
State: TypeAlias = Literal["open", "settled", "running", "elsewhere", "unknown", "failed"]


class Found(NamedTuple):
    """A job, and what became of it."""

    job: Job
    state: State = "open"
    cost: Nano | None = None
    text: str = ""
    """What went wrong, and what to do about it."""


class Provider(NamedTuple):
    """Whom to ask for jobs of a kind."""

    client: Any
    error: type[Exception]
    """What its calls raise."""
    answer: Callable[[Any, Job], Answer]
    """What it says of a job."""
    url: str
    """By what another of its kind is named."""
    key: str
    """The variable with its key."""

    def close(self) -> None:
        """Close its client."""
        self.client.close()


def jobs(
    *,
    settle: Annotated[
        bool, typer.Option("--settle", help="Ask the provider for each, and settle those that have ended.")
    ] = False,
    base_url: UrlOption = None,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Background responses and batches that nobody saw the end of.

    Their money stays held until a look shows what they cost: that of your program, or this command's.
    It asks with OPENAI_API_KEY or ANTHROPIC_API_KEY; --base-url names another host, such as https://api.groq.com/openai/v1.

    Example: budgetguard jobs --settle
    """
    with project(store, name) as manager:
        guard = manager.guard
        found = [Found(job) for job in sorted(guard.background.jobs(), key=lambda job: job.hold)]
        now_ms = manager.store.now_ms()
        if not found:
            say_where(manager, store)
        if settle:
            found = list(_settled(guard, [each.job for each in found], base_url, silent=as_json))
            manager.flush()
    if as_json:
        print_json([_as_json(each, now_ms) for each in found])
    else:
        _print(found, now_ms, settle)
    if any(each.state in {"unknown", "failed"} for each in found):
        raise typer.Exit(1)


def _settled(guard: Guard, jobs: Sequence[Job], base_url: str | None, *, silent: bool) -> Iterator[Found]:
    """Each job, asked for and settled if it has ended; several at a time."""
    kinds = {job.kind for job in jobs}
    with (
        _providers(kinds, base_url) as asked,
        _bar(len(jobs), silent=silent) as advance,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        for found in pool.map(lambda job: _ask(guard, asked(job), job), jobs):
            advance()
            yield found


def _ask(guard: Guard, provider: Provider, job: Job) -> Found:
    host = provider.client.base_url.host
    if job.host not in {"", host.lower()}:
        return Found(job, "elsewhere", text=f"it was sent to {job.host}: name that by {provider.url}")
    try:
        answer = provider.answer(provider.client, job)
    except provider.error as error:
        return _failed(job, error, host, provider.key)
    if not answer.final:
        return Found(job, "running")
    return Found(job, "settled", guard.shell.run(guard.background.follow(guard.parts, job.kind, answer)))


def _failed(job: Job, error: Exception, host: str, key: str) -> Found:
    status = getattr(error, "status_code", None)  # of an error that the provider answered with
    if status in {401, 403}:
        raise ConfigError(f"{host} refuses the key: set {key} to one of the project that sent it") from None
    if status == 404:
        until = (
            f"what it holds is booked as spent at {moment(job.expires_ms)}" if job.expires_ms else "it holds nothing"
        )
        return Found(job, "unknown", text=f"{host} does not know it (any more), or not with this key; {until}")
    return Found(job, "failed", text=f"{type(error).__name__} of {host}: try again")


def _answer(client: Any, job: Job) -> Answer:
    endpoint = find("GET", f"/{job.kind}/{job.id}")
    assert endpoint is not None
    assert endpoint.answer is not None
    return endpoint.answer((client.batches if job.kind == "batches" else client.responses).retrieve(job.id))


def _results(client: Any, job: Job) -> Answer:
    """How a batch of Anthropic's stands; if it has ended, what its results say."""
    reply = client.messages.batches.retrieve(job.id)
    answer = batch(reply)
    if answer.final or reply.processing_status != "ended":
        return answer
    listener = ResultsListener()
    for line in client.messages.batches.results(job.id):
        listener.hear(line)
    return listener.end()._replace(id=job.id)


@contextmanager
def _providers(kinds: Collection[str], base_url: str | None) -> Iterator[Callable[[Job], Provider]]:
    """Whom to ask for a job; clients are made of what the kinds of jobs need."""
    with ExitStack() as stack:
        made = {
            make: stack.enter_context(closing(make(base_url)))
            for make in {_anthropic if kind == MESSAGE_BATCHES else _openai for kind in kinds}
        }
        yield lambda job: made[_anthropic if job.kind == MESSAGE_BATCHES else _openai]


def _openai(base_url: str | None) -> Provider:
    try:
        from openai import APIError, OpenAI, OpenAIError
    except ModuleNotFoundError:
        raise ConfigError("--settle needs the openai package: pip install openai") from None
    try:
        return Provider(OpenAI(base_url=base_url), APIError, _answer, "--base-url", "OPENAI_API_KEY")
    except OpenAIError:
        raise ConfigError("--settle asks the provider: set OPENAI_API_KEY to its key") from None


def _anthropic(_base_url: str | None) -> Provider:
    try:
        from anthropic import Anthropic, AnthropicError
    except ModuleNotFoundError:
        raise ConfigError("--settle needs the anthropic package: pip install anthropic") from None
    if not (os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("ANTHROPIC_AUTH_TOKEN")):
        raise ConfigError("--settle asks the provider: set ANTHROPIC_API_KEY to its key")
    return Provider(Anthropic(), AnthropicError, _results, "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY")


@contextmanager
def _bar(total: int, *, silent: bool) -> Iterator[Any]:
    """A bar on a terminal; what it gives is called after each."""
    out = console(stderr=True)
    if silent or not out.is_terminal:
        yield lambda: None
        return
    with Progress(console=out) as progress:
        task = progress.add_task("asking", total=total)
        yield lambda: progress.advance(task)


def _print(found: Sequence[Found], now_ms: Millis, settle: bool) -> None:
    out = console()
    if not found:
        out.print("Nothing is under way in the background.")
        return
    columns = [Column("id"), Column("kind", drop=4), Column("model", drop=2), Column("for", drop=1)]
    columns += [Column("held", number=True), Column("age", number=True, drop=5), Column("until", drop=6)]
    columns += [Column("state"), Column("cost", number=True)] if settle else [Column("sent to", drop=3)]
    rows = []
    for each in found:
        job = each.job
        tags = " ".join(
            f"{name}={job.tags[name]}" for name in sorted(job.tags, key=lambda name: (name != "user", name))
        )
        row = [job.id, job.kind, job.model or "-", tags or "-", money(job.amount)]
        row += [_age(now_ms - job.began_ms), moment(job.expires_ms)]
        rows.append([*row, each.state, money(each.cost)] if settle else [*row, job.host or "-"])
    out.print(table(columns, rows))
    for each in found:
        if each.text:
            out.print(f"{each.job.id}: {each.text}.")
    if settle:
        counts = Counter(each.state for each in found)
        out.print(", ".join(f"{number} {state}" for state, number in counts.items()) + ".")


def _as_json(found: Found, now_ms: Millis) -> dict[str, object]:
    job = found.job
    return {
        "id": job.id,
        "kind": job.kind,
        "model": job.model,
        "tags": dict(job.tags),
        "held": job.amount,
        "began_at": iso(job.began_ms),
        "age_s": max(now_ms - job.began_ms, 0) // 1000,
        "expires_at": iso(job.expires_ms),
        "host": job.host,
        "state": found.state,
        "cost": found.cost,
        "error": found.text or None,
    }


def _age(ms: Millis) -> str:
    minutes = max(ms, 0) // 60_000
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"
