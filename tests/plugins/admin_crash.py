"""A plugin that ends before its handshake, with words on stderr that no terminal should obey."""

import sys

sys.exit("\x1b[31mcannot go on\x1b[0m <script>alert(1)</script>")
