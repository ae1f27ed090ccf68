"""What a check has found."""

from __future__ import annotations

from vconnect.checks.report import Finding, Report, Subject, faulty, note
from vconnect.validation import Fault


def test_a_fault_is_told_once_and_notes_do_not_count() -> None:
    findings = faulty([Fault("a", "x"), Fault("b", "x"), Fault("a", "x")])
    assert findings == [Finding("a", "x"), Finding("b", "x")]
    assert Report(Subject.PACKAGE, (note("a", "y"), *findings)).faults == 2
    assert Report(Subject.PACKAGE, (note("a", "y"),)).faults == 0
