"""A chat server whose rules, bots and statistics are plugins."""
