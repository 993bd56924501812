"""The list of commands, by what one wants to know: a command stands under the title of the room that it is in."""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperGroup

TITLES: Final = {
    "demo": "To begin with",
    "spending": "What was spent",
    "live": "What happens now",
    "budgets": "Budgets",
    "programs": "Programs and their settings",
    "prices": "Prices and providers",
    "books": "The books",
    "servers": "Servers, keys and the page",
    "gateway": "The gateway",
}
"""By the names of rooms, in the order in which they are shown; one that is not here comes last."""


class RoomedGroup(TyperGroup):
    """The commands in one list for each room."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the lists into the help."""
        rooms: dict[str, list[tuple[str, Any]]] = {room: [] for room in TITLES}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rooms.setdefault(room_of(command), []).append((name, command))
        longest = max([len(name) for named in rooms.values() for name, _ in named], default=0)
        for room, named in rooms.items():
            if named:
                with formatter.section(TITLES.get(room, room.capitalize())):
                    space = formatter.width - 6 - longest
                    formatter.write_dl([(name.ljust(longest), each.get_short_help_str(space)) for name, each in named])


def room_of(command: Any) -> str:
    """The folder of `cli` in which a command is; of several, the first one's."""
    while command.callback is None:
        command = next(iter(command.commands.values()))
    module: str = command.callback.__module__
    return module.removeprefix(f"{__package__.rpartition('.')[0]}.").partition(".")[0]
