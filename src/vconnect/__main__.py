"""``python -m vconnect``: the command line."""

from .cli import main

main()
