"""The ledger behind a server of budgetguard: for programs that hold no key to a database."""
