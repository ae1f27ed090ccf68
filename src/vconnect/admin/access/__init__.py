"""Who may ask, and from where.

========= ======================================================
`guard`   hosts, origins, content types, and who sends a request
`tokens`  tokens, one-time codes, and sessions of the page
`address` ``HOST:PORT``
========= ======================================================
"""
