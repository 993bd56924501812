"""What a guard assumes where nobody says."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ..budgets.crowds import MANY
from ..budgets.said.checks import require_choice
from ..errors import ConfigError
from ..ledger import DEFAULT_TTL_MS, Account, Millis
from ..money import Money, parse_dollars
from ..process.tally import Tally
from .scope import OnCut

Unscoped: TypeAlias = Literal["allow", "warn", "refuse"]


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What a guard assumes where nobody says.

    * `ttl_ms`: how long a hold counts when its process dies.
    * `output_guess`: the most output tokens of a model whose maximum is not known.
    * `context_guess`: the most input tokens of a call whose input the provider keeps (a stored conversation).
    * `abandoned`: a stream that is left before its end costs its input and what arrived ("observed"), or all that was
      held ("held"). "auto" is the first where no hard budget counts on it, or it was closed and its host stops billing
      then, and else the second: a provider writes on for nobody. That of a model which reasons unseen always costs
      what was held: what arrived says nothing of the bill.
    * `usage_hosts`: further hosts, "host" or "host:port", that understand `stream_options.include_usage`.
    * `on_store_error`: while the store cannot be reached, refuse calls with `StoreError` ("closed"), or let them pass
      as long as `allowance` lasts ("open"): dollars that this process may spend before they are on the books.
    * `unpriced`: a call under a budget in dollars, of a model without a known price, is refused ("refuse"), costs what
      the dearest of its provider does, marked *estimated* ("assume"), or passes as $0, marked *unpriced* ("count").
    * `on_cut`: an answer that ended at an output cap which was added here is warned of ("warn"), or raises
      `AnswerCutError` once it is on the books ("raise").
    * `stated_caps`: an output cap that the caller states, and that does not fit, has the call refused ("refuse"), or is
      lowered to what a hard budget has room for, but not below the least useful answer ("lower"). An answer that ends
      there is cut as one is that ends at an added cap.
    * `journal`: the directory where settlements wait for a store that cannot be reached; by default beside the file
      of a SQLite store.
    * `unscoped`: a call that lacks a tag by which budgets count (`per=` of the rules that fit it; "user" where users
      have budgets), or that is outside every scope in a process that uses them, passes ("allow"), passes with a warning
      that names its line once ("warn"), or raises `UnscopedCallError` ("refuse"). Calls that cost nothing pass.
    * `users`: who may call: "any" user, or only those "known", that have a budget of their own in the store; others
      raise `UnknownUserError`.
    * `telemetry`: OpenTelemetry is told of each call where the program has configured it ("auto"), or never ("off").
    * `telemetry_tags`: the names of the tags that spans and metrics have, too, such as "feature". By default none, not
      even "user": who made a call may be personal, and a metric has a row for each value.
    """

    ttl_ms: Millis = DEFAULT_TTL_MS
    output_guess: int = 8_192
    context_guess: int = 1_050_000
    abandoned: Literal["auto", "observed", "held"] = "auto"
    usage_hosts: frozenset[str] = frozenset()
    on_store_error: Literal["closed", "open"] = "closed"
    allowance: Money | float | str | None = None
    journal: str | os.PathLike[str] | None = None
    unpriced: Literal["refuse", "assume", "count"] = "refuse"
    unscoped: Unscoped = "warn"
    users: Literal["any", "known"] = "any"
    on_cut: OnCut = "warn"
    stated_caps: Literal["refuse", "lower"] = "refuse"
    telemetry: Literal["auto", "off"] = "auto"
    telemetry_tags: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        require_choice(self.on_store_error, ("closed", "open"), "on_store_error")
        require_choice(self.unscoped, get_args(Unscoped), "unscoped")
        require_choice(self.users, ("any", "known"), "users")
        require_choice(self.unpriced, ("refuse", "assume", "count"), "unpriced")
        require_choice(self.on_cut, get_args(OnCut), "on_cut")
        require_choice(self.telemetry, ("auto", "off"), "telemetry")
        require_choice(self.stated_caps, ("refuse", "lower"), "stated_caps")
        if (self.on_store_error == "open") != (self.allowance is not None):
            raise ConfigError(
                f"on_store_error={self.on_store_error!r}, allowance={self.allowance!r}: the dollars that may be spent "
                "while the store is away are needed with 'open', and mean nothing with 'closed'"
            )

    def spare(self) -> Tally | None:
        """What may be spent while the store is away."""
        if self.allowance is None:
            return None
        limit = parse_dollars(self.allowance, name="allowance")
        return Tally(Account("allowance//all", limit, share=MANY))
