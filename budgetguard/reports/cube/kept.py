"""
A day that is over, as the store keeps it: a record, for ever. So what is pruned from the entries stays in the sums.

Its body is JSON: a version, and the day's columns as JSON that is compressed, as a day may have many thousand rows.
"""

from __future__ import annotations

import json
import zlib
from array import array
from base64 import b64decode, b64encode
from datetime import date
from typing import Any, Final

from ...ledger import KEPT_FOR_EVER, Millis, Record, RecordQuery, Store
from ...stores.encoding import day_text
from .blocks import Day, DayBlocks, HourBlock
from .codes import FIELDS, AllCodes
from .packed import UsageKinds

KIND: Final = "sum"
_VERSION: Final = 1


def record_of(blocks: DayBlocks, codes: AllCodes, kinds: UsageKinds, at_ms: Millis) -> Record:
    """The record of a day."""
    data = {str(hour): _columns(block, codes, kinds) for hour, block in sorted(blocks.hours.items())}
    packed = zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 6)
    body = json.dumps({"version": _VERSION, "hours": b64encode(packed).decode()}, separators=(",", ":"))
    return Record(KIND, day_text(blocks.day), at_ms, body, KEPT_FOR_EVER)


def blocks_of(day: Day, body: str, codes: AllCodes, kinds: UsageKinds) -> DayBlocks | None:
    """The day that a record has; `None`: it was written in another way, and has to be made again."""
    said = json.loads(body)
    if said.get("version") != _VERSION:
        return None
    blocks = DayBlocks(day)
    for hour, columns in json.loads(zlib.decompress(b64decode(said["hours"]))).items():
        blocks.hours[int(hour)] = _block(columns, codes, kinds)
    return blocks


def find_day(store: Store, day: Day) -> Record | None:
    """The record of one day."""
    asked = RecordQuery(KIND, after=day_text(day - 1), before=day_text(day + 1), limit=1)
    return next(iter(store.noted(asked)), None)


def first_day(store: Store) -> Day | None:
    """The first day that has a record."""
    found = next(iter(store.noted(RecordQuery(KIND, limit=1))), None)
    return None if found is None else day_named(found.id)


def day_named(text: str) -> Day:
    """The day that a record is called by."""
    return date.fromisoformat(text).toordinal() - date(1970, 1, 1).toordinal()


def _columns(block: HourBlock, codes: AllCodes, kinds: UsageKinds) -> dict[str, Any]:
    """An hour, its names in lists of their own."""
    said: dict[str, Any] = {}
    for name, column in zip(FIELDS, (block.users, block.providers, block.models), strict=True):
        numbers = {number: place for place, number in enumerate(dict.fromkeys(column))}
        said[name] = [[codes.fields[name].values[number] for number in numbers], [numbers[each] for each in column]]
    sets = {number: place for place, number in enumerate(dict.fromkeys(block.tags))}
    said["tags"] = [[codes.sets[number] for number in sets], [sets[each] for each in block.tags]]
    said["sums"] = kinds.columns_of(block.packed)
    return said


def _block(said: dict[str, Any], codes: AllCodes, kinds: UsageKinds) -> HourBlock:
    block = HourBlock()
    columns = []
    for name in FIELDS:
        values, places = said[name]
        numbers = [codes.fields[name].number(value) for value in values]
        columns.append(array("I", [numbers[place] for place in places]))
    block.users, block.providers, block.models = columns
    values, places = said["tags"]
    numbers = [codes.set_number(tuple([(tag, value) for tag, value in tags])) for tags in values]
    block.tags = array("I", [numbers[place] for place in places])
    block.packed = kinds.repacked(said["sums"], len(places))
    return block
