"""The names in the history as small numbers: a row has four of these instead of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

TagSet: TypeAlias = tuple[tuple[str, str], ...]
"""All tags of a call but the user, by name."""

FIELDS: Final = ("user", "provider", "model")
"""What every row has a number for, beside that of its tags."""


class Codes:
    """The values of one field, each by its number; "" is 0."""

    def __init__(self) -> None:
        self.values: list[str] = [""]
        self._numbers: dict[str, int] = {"": 0}

    def number(self, value: str) -> int:
        """The number of a value; a new one for a new value."""
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found

    def find(self, value: str) -> int | None:
        """The number of a value; `None`: nothing has it."""
        return self._numbers.get(value)

    def __len__(self) -> int:
        return len(self.values)


class AllCodes:
    """The values of all fields. A tag's are found by the number of a set of tags, in a table made when it is asked."""

    def __init__(self) -> None:
        self.fields = {name: Codes() for name in FIELDS}
        self.sets: list[TagSet] = [()]
        self._numbers: dict[TagSet, int] = {(): 0}
        self._tags: dict[str, tuple[Codes, list[int]]] = {}

    def set_number(self, tags: TagSet) -> int:
        """The number of a set of tags."""
        found = self._numbers.get(tags)
        if found is None:
            found = self._numbers[tags] = len(self.sets)
            self.sets.append(tags)
        return found

    def of_field(self, name: str) -> Codes:
        """The values of a field or tag."""
        return self.fields[name] if name in self.fields else self.tag(name)[0]

    def tag(self, name: str) -> tuple[Codes, list[int]]:
        """The values of a tag, and the number of the one that each set of tags has."""
        codes, table = self._tags.setdefault(name, (Codes(), []))
        for tags in self.sets[len(table) :]:
            table.append(codes.number(next((value for tag, value in tags if tag == name), "")))
        return codes, table

    def tag_names(self) -> set[str]:
        """The names of all tags."""
        return {name for tags in self.sets for name, _ in tags}


def tag_set(tags: Mapping[str, str]) -> TagSet:
    """The tags of a call beside its user."""
    return tuple(sorted([pair for pair in tags.items() if pair[0] != "user"]))
