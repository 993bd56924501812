"""
Batches: what their requests can cost, be they in an uploaded file or in the body, and the charge of such a batch.

A file is read line by line as it is uploaded, each request by the reader of its own operation, and projected in the
batch tier. What is remembered of it are sums for each model. A cap on its output cannot be added to a file: a request
that states none counts with the model's maximum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from time import thread_time
from typing import IO, Any, NamedTuple

from ...adapters.openai import find
from ...adapters.openai.batches import TIER, line
from ...calls import Answer, Call, Host, Share, Usage, tokens_in
from ...concurrency.steps import Step, Steps
from ...errors import BudgetExceededError, StoreError, UnpricedModelError
from ...ledger import Amounts, Unit, Wanted
from ...money import MAX_AMOUNT, Nano
from ...prices.kinds import TOOL_KINDS
from ...prices.tariffs import Quote, in_region
from ..admission import NO_BOUNDS, Admission, Bounds, Planned
from ..charge import Charge
from ..costs.bill import within_bounds
from ..costs.projection import Projection, Quotes, Wish
from ..costs.unpriced import UNPRICED
from ..parts import Parts
from ..plan import CallPlan

COUNTING_S = 5.0
"""CPU seconds that the tokenizer may take for one file; the requests behind are bounded by their bytes."""

MOST_LINE = 32 * 1024 * 1024
"""Bytes of the longest line that is read; a file with a longer one counts as not read."""

MOST_MODELS = 100
"""Models in one file; one with more counts as not read."""


class Part(NamedTuple):
    """What the requests of a file that ask one model come to."""

    requests: int = 0
    amount: Nano = 0
    """The most that they can cost."""
    dearest: Nano = 0
    """The most that one of them can cost."""
    longest: int = 0
    """The most input tokens of one of them."""
    beside: Nano = 0
    """The part of `amount` that no count of tokens shows: fees of hosted tools, what their own models use."""
    tokens: int = 0
    """The most that they can use."""
    widest: int = 0
    """The most that one of them can."""

    def plus(self, other: Part) -> Part:
        """Together with others."""
        return Part(
            self.requests + other.requests,
            self.amount + other.amount,
            max(self.dearest, other.dearest),
            max(self.longest, other.longest),
            self.beside + other.beside,
            self.tokens + other.tokens,
            max(self.widest, other.widest),
        )


@dataclass(frozen=True, slots=True)
class BatchFile:
    """What the requests of a batch come to, for each model. It holds nothing of what they say."""

    parts: Mapping[str, Part]
    uncapped: int = 0
    """How many state no output cap."""
    unpriced: str | None = None
    """A model among them whose price is not known."""
    pictures: bool = False
    """Whether their output is pictures."""

    @property
    def amount(self) -> Nano:
        """The most that all of them can cost."""
        return sum(part.amount for part in self.parts.values())

    @property
    def beside(self) -> Nano:
        """The part of it that no count of tokens shows."""
        return sum(part.beside for part in self.parts.values())

    @property
    def requests(self) -> int:
        """How many there are."""
        return sum(part.requests for part in self.parts.values())

    @property
    def model(self) -> str:
        """The model that is asked for: one without a price if there is one, else the one that can cost the most."""
        if self.unpriced is not None:
            return self.unpriced
        return max(self.parts, key=lambda model: self.parts[model].amount, default="")

    def most(self, answered: int | None) -> Nano:
        """The most that so many of the requests can have cost; `None`: all of them."""
        if answered is None:
            return self.amount
        return min(self.amount, answered * max((part.dearest for part in self.parts.values()), default=0))

    @property
    def tokens(self) -> int:
        """The most tokens that all of them can use."""
        return sum(part.tokens for part in self.parts.values())

    def most_tokens(self, answered: int | None) -> int:
        """The most tokens that so many of the requests can have used; `None`: all of them."""
        if answered is None:
            return self.tokens
        return min(self.tokens, answered * max((part.widest for part in self.parts.values()), default=0))

    def as_json(self) -> dict[str, Any]:
        """As it is kept in a store."""
        return {**asdict(self), "parts": dict(self.parts)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BatchFile:
        """What `as_json` gave."""
        parts = {model: Part(*part) for model, part in data["parts"].items()}
        return cls(parts, data["uncapped"], data["unpriced"], data["pictures"])


class FileReader:
    """Adds up the requests of one file, line by line. `add` says `False` for a line that nobody here can price."""

    def __init__(self, parts: Parts, provider: str | None, host: Host) -> None:
        self._settings = parts.settings
        self._plans = parts.plans
        self._provider = provider
        self._host = host
        self._parts: dict[str, Part] = {}
        self._uncapped = 0
        self._unpriced: str | None = None
        self._pictures = False
        self._until_s = thread_time() + COUNTING_S

    def read(self, source: IO[bytes]) -> BatchFile | None:
        """The sums of a whole file; `None` if it has requests that cannot be priced."""
        while raw := source.readline(MOST_LINE):
            if len(raw) == MOST_LINE or not self.add(raw):
                return None
        return self.file()

    def sums(self, calls: Iterable[Call]) -> BatchFile | None:
        """The sums of requests that are in no file; `None` if there are too many models among them."""
        for call in calls:
            self._project(call)
            if len(self._parts) > MOST_MODELS:
                return None
        return self.file()

    def add(self, raw: bytes) -> bool:
        """Take in a line."""
        if not raw.strip():
            return True
        asked = line(raw)
        if asked is None:  # the provider refuses the file for it
            return True
        endpoint = find("POST", asked.path)
        if endpoint is None or endpoint.opaque:
            return False
        if endpoint.request is not None and not (endpoint.free_at_home and self._host.openai):
            self._project(endpoint.request(asked.body, (), self._host))
        return len(self._parts) <= MOST_MODELS

    def take(self, file: BatchFile) -> bool:
        """Take in the sums of a part of the file."""
        for model, part in file.parts.items():
            self._parts[model] = self._parts.get(model, Part()).plus(part)
        self._uncapped += file.uncapped
        self._unpriced = file.unpriced or self._unpriced
        self._pictures |= file.pictures
        return len(self._parts) <= MOST_MODELS

    def file(self) -> BatchFile:
        """The sums so far."""
        return BatchFile(self._parts, self._uncapped, self._unpriced, self._pictures)

    def _project(self, call: Call) -> None:
        try:
            one = self._one(call)
        except UnpricedModelError:
            self._unpriced = call.model
            one = self._projected(call._replace(others=()), UNPRICED, (), self._provider)
        self._parts[call.model] = self._parts.get(call.model, Part()).plus(one)
        self._pictures |= "output_image_tokens" in call.fixed
        if call.output and call.max_output is None and call.default_output is None:
            self._uncapped += 1

    def _one(self, call: Call) -> Part:
        plans, provider = self._plans, self._provider
        if call.region:
            provider = in_region(provider, call.region)
        quote = plans.quote(provider, call.model, TIER, sure=True)
        others = [plans.quote(provider, model, TIER, sure=True) for model in call.others]
        one = self._projected(call, quote, others, provider)
        beside = self._beside(call.also)
        if call.tools is not None:
            beside += call.tools.calls * (quote.cost(call.tools.fees) + self._beside(call.tools.also))
        if fees := {kind: most for kind, most in call.fixed.items() if kind in TOOL_KINDS}:
            beside += quote.cost(fees)
        return one._replace(beside=beside)

    def _projected(self, call: Call, quote: Quote, others: Sequence[Quote], provider: str | None) -> Part:
        """What one request can cost by the counts of its tokens, and how many these are."""
        projection = Projection(
            call,
            quote,
            self._plans,
            provider=provider,
            output_guess=self._settings.output_guess,
            context_guess=self._settings.context_guess,
            sure=self._host.openai,
            others=others,
        )
        if thread_time() < self._until_s:
            projection.count()
        wish = projection.wish(hard=False, tokens=False)
        tokens = wish.units["tokens"].amount
        return Part(1, wish.amount, wish.amount, projection.input_tokens, 0, tokens, tokens)

    def _beside(self, also: Sequence[tuple[str, Usage]]) -> Nano:
        """What other models cost."""
        return sum(self._plans.quote(self._provider, model, None).cost(usage) for model, usage in also)


class BatchCharge(Charge):
    """The money of one batch. `file`: what is known of its input; `None` for one that nobody read: it is only gated."""

    __slots__ = ("file",)
    file: BatchFile | None

    def admitted(self, blocks: bool) -> bool:
        """Never at once: what is known of the file is read first."""
        return False

    def admit(self) -> Steps[None]:
        """Hold what all requests of the file can cost, or raise; afterwards the batch may be made."""
        asked, calls = self.asked, self.call.requests
        if calls is not None:
            reader = FileReader(self.parts, asked.provider, asked.host)
            self.know((yield Step(partial(reader.sums, calls), blocking=True)))
        else:
            yield from self._find_file(self.call.file or "")
        yield from super().admit()

    def _find_file(self, file_id: str) -> Steps[None]:
        try:
            self.know((yield from self.parts.later.file(file_id)))
        except StoreError:  # its own reserve says so, if it is still away
            self.know(None)
        if self.file is None and not self.call.unread:
            self.parts.notices.warn_once(
                self.asked.endpoint.name,
                "batches: file %s was not read here as it was uploaded, so what its batch costs is not counted, and "
                "budgets only gate it: upload it by OpenAI's files.create where the same budgets hold, or state the "
                "requests in the batch itself where its API takes them",
                file_id,
            )

    def know(self, file: BatchFile | None) -> None:
        """Take in what is known of the file."""
        self.file = file
        if file is not None:
            self.call = self.call._replace(model=file.model, requests=None)
            self.beside = self.beside._replace(estimated=len(file.parts) > 1 or file.beside > 0)
        else:
            self.asked = self.asked._replace(endpoint=replace(self.asked.endpoint, opaque=True))

    def _planned(self) -> CallPlan:
        if self.file is not None and not self.file.parts:  # moderations only
            return self.parts.plans.free(self.call.model, self.asked.tags)
        plan = super()._planned()
        if self.file is None or self.file.unpriced is None or plan.error is not None:
            return plan
        text = f"not all that requests to {self.call.model!r} in this file can use has a price: declare what is missing"
        return replace(plan, error=UnpricedModelError(text, model=self.call.model))

    def _admission(self) -> Admission:
        assert self.file is not None or self.asked.endpoint.opaque
        if self.file is None:
            return super()._admission()
        return _FileAdmission(self, self.file)

    def cost(self, answer: Answer) -> Nano:
        """The true cost, in the batch tier; of several models that of the dearest, as usage is told for all at once."""
        if self.file is None or self.plan.free or answer.free or (self.plan.unpriced and not self.plan.assumed):
            return 0
        if answer.cost is not None:
            return answer.cost
        most = self.file.most(answer.requests)
        if answer.shares:
            return self._cost_of(answer, most)
        if answer.usage is None:
            return most
        usage = {**answer.usage, "requests": answer.requests or 1}
        if self.file.pictures:
            usage.setdefault("output_image_tokens", usage.get("output_tokens", 0))
        try:
            costs = [self._cost(model, answer.model, usage) for model in self.file.parts]
        except UnpricedModelError:
            self.parts.notices.warn_unpriced(answer.model or self.call.model, assumed=self.plan.assumed)
            return most
        cost = costs[0] if len(costs) == 1 else min(max(costs, default=most), most)
        return cost + self.file.beside

    def _cost_of(self, answer: Answer, most: Nano) -> Nano:
        """What an answer's shares come to, and the dearest of the requests for each answer that has no share."""
        assert self.file is not None
        cost, unsaid = 0, answer.requests or 0
        for share in answer.shares:
            try:
                cost += self._cost_of_share(share)
                unsaid -= share.usage["requests"]
            except UnpricedModelError:
                self.parts.notices.warn_unpriced(share.model or self.call.model, assumed=self.plan.assumed)
        self.beside = self.beside._replace(estimated=unsaid > 0)
        cost += self.file.most(unsaid)
        return cost if cost <= MAX_AMOUNT else within_bounds(cost, most, self.id, self.call.model)

    def _cost_of_share(self, share: Share) -> Nano:
        plans, provider, model = self.parts.plans, self.asked.provider, share.model or self.call.model
        if share.region is not None:
            provider = in_region(provider, share.region)
        tariff = plans.prices.settlement(provider, model, None, TIER, plans.coverage.now_ms())
        return tariff.cost(share.usage, longest=share.longest)

    def used(self, answer: Answer) -> Amounts:
        """The tokens of all requests that were answered, and how many these were; all, where that is not said."""
        if self.file is None:
            return super().used(answer)
        if answer.free:
            return {"requests": 0}
        said = answer.requests
        if answer.shares:
            unsaid = (said or 0) - sum(share.usage["requests"] for share in answer.shares)
            tokens = sum(tokens_in(share.usage) for share in answer.shares) + self.file.most_tokens(unsaid)
        else:
            tokens = self.file.most_tokens(said) if answer.usage is None else tokens_in(answer.usage)
        return {"tokens": tokens, "requests": self.file.requests if said is None else said}

    def _cost(self, model: str, answered: str | None, usage: Mapping[str, int]) -> Nano:
        assert self.file is not None
        plans, named = self.parts.plans, answered if len(self.file.parts) == 1 else None
        tariff = plans.prices.settlement(self.asked.provider, model, named, TIER, plans.coverage.now_ms())
        return tariff.cost(usage, longest=self.file.parts[model].longest)


class _FileAdmission(Admission):
    """The admission of a file of requests."""

    __slots__ = ("_file",)

    def __init__(self, it: Planned, file: BatchFile) -> None:
        super().__init__(it)
        self._file = file

    def hold(self) -> Steps[Bounds]:
        """Hold what all of them can cost, or raise; a file is not amended."""
        quote = self.plan.quote or UNPRICED
        self.projection = _FileProjection(self._file, self.call, quote, self.parts.plans)
        try:
            yield from self.place()
        except BudgetExceededError as error:
            if self._file.uncapped:
                error.add_note(
                    f"{self._file.uncapped} of the {self._file.requests} requests in the file state no output cap, and "
                    "count with their model's maximum: state one in the file (max_completion_tokens, max_output_tokens)"
                )
            raise
        return NO_BOUNDS


class _FileProjection(Projection):
    """What a file of requests can cost: a sum that was counted before, which no cap can lower."""

    __slots__ = ("_amount", "_units")

    def __init__(self, file: BatchFile, call: Call, quote: Quote, prices: Quotes) -> None:
        super().__init__(call, quote, prices, provider=None, output_guess=0, context_guess=0)
        self.exact = True
        self._amount = file.amount
        self._units: dict[Unit, Wanted] = {"tokens": Wanted(file.tokens), "requests": Wanted(file.requests)}

    def wish(self, hard: bool, tokens: bool | None = None) -> Wish:
        """All of it."""
        return Wish(self._amount, None, 0, 0, self._units)
