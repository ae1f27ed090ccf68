"""Downloads a package over HTTP, from a server that is not trusted.

============= ===================================================================================
`download`    one download: attempts, limits, the digest; imports aiohttp, so it is imported late
`hops`        from an address to the response at the end of its redirects, each of them checked
`addresses`   how far away a host is, and that nothing else is connected to
`proxy`       the proxy of a download, from the environment
`credentials` tokens and logins for private servers, from the environment and from netrc
`partial`     downloads that were interrupted, and what must be the same to continue them
============= ===================================================================================
"""
