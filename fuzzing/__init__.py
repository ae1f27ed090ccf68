"""Coverage-guided fuzzing with atheris.

``python -m fuzzing.fuzz_session`` and the others run until they find something; libFuzzer's options
(``-max_total_time=60``, directories for the corpus) follow the name. ``corpus/`` has a directory of
inputs for each; what is found goes there. ``tests/fuzz/test_harness.py`` runs the same checks on
the corpus and on random input, without atheris.

================= =======================================================
`fuzz_framing`    bytes to frames, against a reference
`fuzz_messages`   the meaning of handshakes, answers and calls
`fuzz_session`    whole sessions, with time and memory as the judge
`fuzz_archive`    packages
`fuzz_texts`      manifests and configuration files
================= =======================================================
"""
