"""
One dollar stays one dollar, in every shape that a program takes: the table, of every row in `tests/support/shapes.py`,
and of those in `tests/support/gateway_shapes.py`, whose clients have nothing but a gateway's key.

    python -m benchmarks.shapes [--behind]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from budgetguard.money import format_nano
from tests.support import gateway_shapes, shapes

_COUNTS = (("answered", 8), ("broken off", 11), ("refused", 8), ("busy", 5))


def main() -> None:
    """Print the table; the exit status is 1 if a row does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--behind", action="store_true", help="the gateway's rows alone")
    behind = parser.parse_args().behind
    logging.getLogger("budgetguard").setLevel(logging.ERROR)
    began = time.monotonic()
    print(
        f"{'shape':28}{'store':17}{'max_tokens':12}answered broken off refused busy  {'billed':12}{'booked':12}verdict"
    )
    failed = 0
    table = [] if behind else [(shapes.run, each) for each in shapes.rows()]
    table += [(gateway_shapes.run, each) for each in gateway_shapes.rows()]
    for run, (shape, store, stated) in table:
        row = run(shape, store, stated)
        failed += not row.holds
        counts = "".join(f"{row.outcomes[name]:>{width}}" for name, width in _COUNTS)
        amounts = f"{format_nano(row.billed):12}{format_nano(row.booked):12}"
        print(
            f"{shape:28}{row.store:17}{'stated' if stated else 'not stated':12}{counts}  {amounts}{row.verdict}",
            flush=True,
        )
    print("* the answers never came, so nobody on this side can know the bill: the books have what was held, marked")
    print("  estimated, which is the bill or more.")
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
