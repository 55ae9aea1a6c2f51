"""`python -m bench NAME`."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

from bench.case_cost import case_cost
from bench.import_accounts import import_accounts

Bench = Callable[[], Coroutine[Any, Any, tuple[dict[str, Any], bool]]]
BENCHES: Final[dict[str, Bench]] = {"case-cost": case_cost, "import": import_accounts}


def main() -> int:
    """Run the benches named, all without a name; 1 when a figure does not hold."""
    names = sys.argv[1:] or list(BENCHES)
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.stderr.write(f"no such bench: {', '.join(unknown)}; there are: {', '.join(BENCHES)}\n")
        return 2
    good = True
    for name in names:
        figures, holds = asyncio.run(BENCHES[name]())
        good = good and holds
        sys.stdout.write(json.dumps({"bench": name, **figures, "holds": holds}) + "\n")
        sys.stdout.flush()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
