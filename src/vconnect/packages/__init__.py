"""Plugin packages: from a source to a directory that starts.

=========== =======================================================================
`installer` `PluginInstaller`: from a source to an installed plugin, all or nothing
`source`    a source as an operator writes it: path or URL, placeholders, scheme
`fetch`     from a source to a file on this machine
`download`  the part of `fetch` that speaks HTTP; imported when first needed
`archive`   what a package may contain, and unpacking it below one directory
`tar`       a bounded reader of gzip-compressed tar: bytes in, members out
`manifest`  ``plugin.json``, what a package says of itself
`store`     the layout of ``plugin_dir``: staging, atomic swap, recovery
`swap`      exchanging two directories in one step
`command`   the command line that starts a plugin
`pack`      from a directory to a package
=========== =======================================================================
"""
