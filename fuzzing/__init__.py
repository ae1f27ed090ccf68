"""Coverage-guided fuzzing with atheris.

``python -m fuzzing.fuzz_framing`` and ``python -m fuzzing.fuzz_archive`` run until they find
something; libFuzzer's options (``-max_total_time=60``, a directory for the corpus) follow the name.
``tests/fuzz/test_harness.py`` runs the same checks on random input, without atheris.
"""
