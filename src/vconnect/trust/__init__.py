"""Who made a package: keys, and signatures in the format of minisign.

=========== ===========================================================
`minisign`  the files of minisign: public keys, secret keys, signatures
`signing`   signs a file, and verifies a signature; needs the extra ``sign``
`passwords` encrypts a secret key with a password
`files`     keys and signatures on the disk
`keyring`   ``vconnect.trust``: whose signatures count, and for what
`adding`    a key that is to be trusted, and the key that hands over to it
`policy`    what the signature of a package is worth
=========== ===========================================================
"""
