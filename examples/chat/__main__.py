"""``python -m examples.chat``: serve the chat until Ctrl-C."""

import sys

try:
    # Inside, because loading takes a moment in which Ctrl-C may come.
    from .program import main

    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(130)
