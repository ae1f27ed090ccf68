"""Plugin packages: from a source to a directory that starts.

=========== =======================================================================
`installer` `PluginInstaller`: from a source to an installed plugin, all or nothing
`source`    a source as an operator writes it: path or URL, placeholders, scheme
`fetch`     from a source to a file on this machine
`download`  the HTTP part of `fetch`; imported when first needed
`archive`   checks a package and unpacks it below one directory
`tar`       a bounded reader of gzip-compressed tar archives
`manifest`  ``plugin.json``, a package's description of itself
`store`     the layout of ``plugin_dir``: staging, atomic swap, recovery
`swap`      exchanges two directories atomically
`command`   the command line that starts a plugin
`pack`      creates a package from a directory
=========== =======================================================================
"""
