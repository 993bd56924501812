"""
All that a view shows, as plain data, over any store: exact, and fast where the history has a million entries.

`Reports` answers each view with a frozen dataclass of `shown/`; `written` makes JSON and CSV of any of them. What
calls add up to is read from the *cube* (`cube/`): the entries folded by hour, which the store keeps a record of for
each day that is over; today's is read as it happens. Definitions and methods are in docs/reports.md.
"""
