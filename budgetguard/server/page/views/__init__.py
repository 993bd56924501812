"""The views of the page: one file for each part of the table, which is put together here."""

from . import calls

VIEWS = [*calls.VIEWS]
