"""`python -m budgetguard.testing.provider`: the fake provider as a program."""

from .fake import main

main()
