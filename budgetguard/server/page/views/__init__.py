"""The views of the page: one file for each part of the table, which is put together here."""

from ..spending import VIEWS as SPENDING
from . import calls, keys, noted, prices

VIEWS = [*SPENDING, *calls.VIEWS, *noted.VIEWS, *prices.VIEWS, *keys.VIEWS]
