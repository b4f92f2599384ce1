"""`python -m tests.mutants`: see `runner`, which processes that are forked can import by name."""

import sys

from tests.mutants.runner import main

sys.exit(main(sys.argv[1:]))
