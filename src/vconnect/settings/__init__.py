"""What the operator wants, validated once.

========== ======================================================
`model`    every setting, with its default
`load`     command line, environment and file, joined and checked
`parts`    the keys that each class of the host needs
`paths`    paths made absolute, once
`events`   what holds for an event
`limits`   what a plugin's processes may use
`restarts` when and how often a plugin is started again
========== ======================================================
"""
