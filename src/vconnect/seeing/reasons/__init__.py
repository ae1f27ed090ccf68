"""The questions that `vconnect.seeing.why` asks about a plugin, and their answers.

========= ================================================================================
`down`    why it is not there, or not for long
`up`      what is wrong with its service
`finding` what both are made of: an answer, what it is found in, and parts of its words
========= ================================================================================
"""
