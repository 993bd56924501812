"""`python -m budgetguard.cli`: the command line, where no script was installed."""

from . import main

main()
