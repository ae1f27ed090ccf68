"""Sources of plugins, watched for changes.

=============== ==================================================
`watch`         detects which files have changed
`scan`          which files count, and their state at one moment
`notifications` what the system tells about directories
=============== ==================================================
"""
