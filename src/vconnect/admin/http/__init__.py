"""Requests and answers, whichever server carries them.

========== ===============================================================
`asked`    a request and its answer
`table`    the routes: what there is, who may ask, what it takes and gives
`openapi`  the description of the interface, made from the table
`bodies`   bodies and queries within limits, turned into structs
`encoding` answers in JSON
`progress` answers that show the progress of a download first
`problems` errors as problem documents, each with a code and the next step
`orders`   orders that a client may give again, or look up later
`audit`    who has changed what
========== ===============================================================
"""
