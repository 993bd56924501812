"""How many tokens, and how much money: what a call can cost at most, and what it did cost."""

from .book import PriceBook as PriceBook
