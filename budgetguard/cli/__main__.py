"""`python -m budgetguard.cli`: the same as `python -m budgetguard`."""

from . import main

main()
