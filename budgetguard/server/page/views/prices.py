"""
The prices that calls are counted at: those that are not known first, with the form that writes them.

A price file is one for all programs of a machine, so the form is there for whoever is on it (`budgetguard ui`, or a
server in open mode); who signed in with the key of one project is told the command instead.
"""

from __future__ import annotations

from dataclasses import replace

from ....config import load_config
from ....config.written import price_file_of
from ....errors import ConfigError
from ....money import Nano
from ....prices.sources.edit import number_of, write_alias, write_free, write_price
from ....reports.written import in_dollars
from ...problems import Refused
from ..view import KEEPERS, Look, Shown, View, Went

_USUAL = ("input_tokens", "output_tokens")


def prices(look: Look) -> Shown:
    """The models that were called lately, and what we take their price for."""
    said = look.said("days", "30")
    days = int(said) if said in ("1", "7", "30", "90") else 30
    found = look.reports.prices(days=days, book=load_config().price_book())
    shown = replace(
        found, rows=tuple(replace(row, rates=tuple(sorted(row.rates, key=_usual_first))) for row in found.rows)
    )
    data = {
        "shown": shown,
        "days": str(days),
        "may_write": _may_write(look),
        "file": str(price_file_of(load_config()).path) if _may_write(look) else "",
        "model": look.form.get("model") or look.said("model"),
        "dollars": dollars,
        "place": look.place,
        "form": look.form,
        "problem": "",
    }
    return Shown("setup/prices.html", data, rows=shown.rows, whole=shown)


def dollars(nano: Nano) -> str:
    """A price as it is, with two digits at least: "$0.075", "$10.00"."""
    return f"${in_dollars(nano)}"


def _usual_first(rate: tuple[str, int, Nano]) -> int:
    kind, above, _ = rate
    return 2 if above or kind not in _USUAL else _USUAL.index(kind)


def write(look: Look) -> Shown | Went:
    """Write what a model costs into the price file; what is refused is said above the same form."""
    if not _may_write(look):
        raise Refused(403, "a price file is the operator's: use `budgetguard prices set` there", "permission_error")
    try:
        return _written(look)
    except ConfigError as error:
        listed = prices(replace(look, place=replace(look.place, view="prices")))
        return replace(listed, data={**listed.data, "problem": str(error)}, status=400)


def _written(look: Look) -> Went:
    form = {name: value.strip() for name, value in look.form.items()}
    model, file = form.get("model", ""), price_file_of(load_config())
    if not model:
        raise ConfigError("model: name the model whose price this is")
    if form.get("how") == "alias":
        write_alias(file.path, model, form.get("other", ""))
    elif form.get("how") == "free":
        write_free(file.path, model)
    else:
        if not (form.get("input") and form.get("output")):
            raise ConfigError("input, output: write both, in dollars per million tokens")
        write_price(file.path, model, {"input": number_of(form["input"]), "output": number_of(form["output"])})
    read = "Programs read it when they start." if file.named else "No program reads this file yet: see below."
    return Went(look.place.link("prices"), f"{model} is in {file.path}. {read}")


def _may_write(look: Look) -> bool:
    return look.may_change and look.server.way != "keys"


VIEWS = [
    View("prices", "Prices in use", prices, group="Set-up"),
    View("prices/write", "Prices in use", write, "POST", KEEPERS, listed=False),
]
