"""``python -m vconnect``: the command line."""

from .cli.main import main

main()
