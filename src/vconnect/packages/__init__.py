"""Plugin packages: from a source to checked files, and from files to a command.

================= =========================================================================
`source`          a source as an operator writes it: path or URL, placeholders, scheme
`wanted`          ``NAME[@RANGE]``, which an index turns into a source
`fetch`           from a source to a file on this machine
`fetching`        the HTTP part of `fetch`; imported when first needed
`progress`        how far a download is, in steps
`archive`         checks a package and unpacks it below one directory
`tar`             a bounded reader of gzip-compressed tar archives
`manifest`        ``plugin.json``, a package's description of itself
`semver`          versions of packages, and ranges of them
`fitness`         whether a package fits a host: its version, and the interfaces that it offers
`config_schema`   the schema of a plugin's configuration, checked within limits
`manifest_schema` ``plugin.json`` as JSON Schema, for editors
`platforms`       the platforms of packages, and what a program's header says about its own
`versions`        the versions that a plugin's directory states, which must be one
`contents`        what is in a directory, with one digest of all of it
`command`         the command line that starts a plugin
`selection`       which files of a directory are packed
`preparation`     what goes into a package, and all that is wrong with a directory
`pack`            creates a package from a directory
================= =========================================================================
"""
