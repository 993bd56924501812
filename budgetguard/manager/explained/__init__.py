"""What budgets would say to a call: `rehearsal` has the guard decide on a copy of the books, `explain` tells of it."""
