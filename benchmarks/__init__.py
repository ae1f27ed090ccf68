"""Figures: how fast frames, round trips and fan-outs are, beside rivals and floors.

``python -m benchmarks`` measures and prints (``docs/benchmarks.md``). A row is a piece of work, a
way is one manner of doing it; `measure` knows how to time ways against each other, `peers` the
processes at the other end, and `frames`, `roundtrips` and `fanout` hold the rows.
"""
