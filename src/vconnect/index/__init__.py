"""Indexes: files that list plugins, so that a package can be asked for by its plugin's name.

=========== ==================================================================================
`document`  ``index.json``: what is in it, read and written within limits
`package`   what one package file is: name, version, digests, permissions, signature
`build`     makes the index of a directory of packages, and withdraws versions
`pages`     the same for people: plain HTML
`resolve`   which version of a plugin is meant, and which file of it
`serials`   the number of each index that was seen last, which never goes down
`fetch`     fetches one index, and decides whether it may be used
`client`    finds plugins in the indexes of a host
=========== ==================================================================================
"""
