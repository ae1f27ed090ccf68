"""Plain directories, in which code and what the plugin writes are mixed, and their end.

=========== ===============================================================================
`migration` from a plain directory to a store directory
`carry`     what a plugin wrote into its package directory, to its data directory
`swap`      exchanges two directories atomically
=========== ===============================================================================
"""
