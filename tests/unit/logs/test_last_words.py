"""What programs print at their end, as compilers and interpreters print it, and the reason."""

from __future__ import annotations

import time

import pytest

from vconnect.logs.last_words import last_words

RUST = r"""
thread 'main' (7881) panicked at src/main.rs:1:122:
boom at once: "no"
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""

RUST_BACKTRACE = r"""
thread 'main' (7886) panicked at src/main.rs:1:87:
assertion `left == right` failed: they differ
  left: 1
 right: 2
stack backtrace:
   0: __rustc::rust_begin_unwind
             at /rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/std/src/panicking.rs:689:5
   1: core::panicking::panic_fmt
             at /rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/core/src/panicking.rs:80:14
   2: a::main
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.
"""

RUST_ANYHOW = """
Error: no disk

Caused by:
    0: cannot open the store
    1: No such file or directory (os error 2)

Stack backtrace:
   0: anyhow::error::<impl anyhow::Error>::msg
             at /src/lib.rs:1:2
   1: a::main
"""

RUST_ANYHOW_ONE = """
Error: no disk

Caused by:
    No such file or directory (os error 2)
"""

# As before 1.73.
RUST_OLD = r"""
thread 'main' panicked at 'no disk', src/main.rs:2:5
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""

RUSTC = r"""
warning: unused variable: `x`
error[E0599]: no method named `f` found for struct `S` in the current scope
  --> src/main.rs:81:27
   |
81 |     s.f();
   |       ^ method not found in `S`

error: could not compile `greeter` (bin "greeter") due to 1 previous error
"""

CLAP = """
error: unexpected argument '--debug' found

Usage: greeter [OPTIONS]

For more information, try '--help'.
"""

GO_PANIC = """
panic: no database

goroutine 1 [running]:
main.main()
\t/src/m.go:3 +0x3b
exit status 2
"""

GO_NIL = """
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x47a742]

goroutine 1 [running]:
main.(*Store).open(0x0)
\t/src/m.go:2 +0x2
"""

GO_FATAL = """
fatal error: concurrent map writes

goroutine 6 [running]:
internal/runtime/maps.fatal({0x49255d?, 0x0?})
\t/usr/local/go/src/runtime/panic.go:1181 +0x18
main.main.func1()
\t/src/m.go:2 +0x28
created by main.main in goroutine 1
\t/src/m.go:2 +0x56
"""

GO_FLAG = """
flag provided but not defined: -debug
Usage of ./greeter:
  -socket string
    \tpath of the socket
"""

NODE = """
/src/t.js:1
function f(){ const x=undefined; x.y }; f()
                                   ^

TypeError: Cannot read properties of undefined (reading 'y')
    at f (/src/t.js:1:36)
    at Object.<anonymous> (/src/t.js:1:41)
    at node:internal/main/run_main_module:28:49

Node.js v20.20.2
"""

NODE_MODULE = """
node:internal/modules/cjs/loader:1210
  throw err;
  ^

Error: Cannot find module 'nonexistent'
Require stack:
- /src/u.js
    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15)
    at Function.executeUserEntryPoint [as runMain] (node:internal/modules/run_main:164:12) {
  code: 'MODULE_NOT_FOUND',
  requireStack: [ '/src/u.js' ]
}

Node.js v20.20.2
"""

NODE_CODE = """
    throw new ERR_MODULE_NOT_FOUND(
          ^

Error [ERR_MODULE_NOT_FOUND]: Cannot find module '/src/nope.mjs' imported from /src/z.mjs
    at ModuleJob._link (node:internal/modules/esm/module_job:168:49) {
  code: 'ERR_MODULE_NOT_FOUND',
  url: 'file:///src/nope.mjs'
}

Node.js v20.20.2
"""

NODE_OBJECT = """
/src/v.js:1
throw {a:1}
^
{ a: 1 }

Node.js v20.20.2
"""

NODE_MEMORY = """
<--- Last few GCs --->

[8181:0x2f3c0000]       88 ms: Mark-Compact 11.9 (13.5) -> 11.4 (13.7) MB, 4.0 / 0.0 ms

<--- JS stacktrace --->

FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory
----- Native stack trace -----

 1: 0xb8d0a3 node::OOMErrorHandler(char const*, v8::OOMDetails const&) [node]
 2: 0xf06250 v8::Utils::ReportOOMFailure(v8::internal::Isolate*, char const*) [node]
10: 0x1959ef6  [node]
"""

PYTHON = """
Traceback (most recent call last):
  File "plugin.py", line 5, in <module>
    connect()
ConnectionError: no database

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "plugin.py", line 7, in <module>
    raise RuntimeError("multi\\n  line message")
RuntimeError: multi
  line message
"""

PYTHON_GROUP = """
  + Exception Group Traceback (most recent call last):
  |   File "<string>", line 1, in <module>
  | ExceptionGroup: g (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: x
    +---------------- 2 ----------------
    | TypeError: y
    +------------------------------------
"""

PYDANTIC = """
Traceback (most recent call last):
  File "plugin.py", line 5, in <module>
    Settings()
pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings
port
  Input should be a valid integer
    For further information visit https://errors.pydantic.dev/2.9/v/int_parsing
"""

ARGPARSE = """
usage: plugin.py [-h] [--socket SOCKET]
plugin.py: error: unrecognized arguments: --debug
"""

JAVA = """
Exception in thread "main" java.lang.IllegalStateException: wrapped
\tat J.main(J.java:1)
Caused by: java.lang.ArrayIndexOutOfBoundsException: Index 1 out of bounds for length 0
\tat J.main(J.java:1)
\t... 7 more
"""

DOTNET = """
Unhandled exception. System.InvalidOperationException: no disk
   at Program.<Main>$(String[] args) in /src/Program.cs:line 1
"""

RUBY = """
plugin.rb:1:in 'Object#connect': no disk (RuntimeError)
\tfrom plugin.rb:3:in '<main>'
"""

CPP = """
terminate called after throwing an instance of 'std::runtime_error'
  what():  no disk
"""

ENV_CRLF = r"""
/usr/bin/env: 'python3\r': No such file or directory
/usr/bin/env: use -[v]S to pass options in shebang lines
"""


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        pytest.param(RUST, 'panicked at src/main.rs:1:122: boom at once: "no"', id="rust"),
        pytest.param(
            RUST_BACKTRACE,
            "panicked at src/main.rs:1:87: assertion `left == right` failed: they differ; "
            "left: 1; right: 2",
            id="rust with a backtrace",
        ),
        pytest.param(
            RUST_ANYHOW,
            "Error: no disk; cannot open the store; No such file or directory (os error 2)",
            id="rust anyhow",
        ),
        pytest.param(
            RUST_ANYHOW_ONE,
            "Error: no disk; No such file or directory (os error 2)",
            id="rust anyhow with one cause",
        ),
        pytest.param(
            RUST_OLD, "thread 'main' panicked at 'no disk', src/main.rs:2:5", id="rust before 1.73"
        ),
        pytest.param(
            RUSTC,
            "error[E0599]: no method named `f` found for struct `S` in the current scope "
            "--> src/main.rs:81:27",
            id="rustc",
        ),
        pytest.param(CLAP, "error: unexpected argument '--debug' found", id="clap"),
        pytest.param(GO_PANIC, "panic: no database", id="go"),
        pytest.param(
            GO_NIL,
            "panic: runtime error: invalid memory address or nil pointer dereference",
            id="go nil pointer",
        ),
        pytest.param(GO_FATAL, "fatal error: concurrent map writes", id="go runtime"),
        pytest.param(GO_FLAG, "flag provided but not defined: -debug", id="go flag"),
        pytest.param(
            NODE, "TypeError: Cannot read properties of undefined (reading 'y')", id="node"
        ),
        pytest.param(
            NODE_MODULE,
            "Error: Cannot find module 'nonexistent'; Require stack:; - /src/u.js",
            id="node module",
        ),
        pytest.param(
            NODE_CODE,
            "Error [ERR_MODULE_NOT_FOUND]: Cannot find module '/src/nope.mjs' imported from "
            "/src/z.mjs",
            id="node code",
        ),
        pytest.param(NODE_OBJECT, "{ a: 1 }", id="node object"),
        pytest.param(
            NODE_MEMORY,
            "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
            id="node memory",
        ),
        pytest.param(PYTHON, "RuntimeError: multi; line message", id="python"),
        pytest.param(PYTHON_GROUP, "TypeError: y", id="python group"),
        pytest.param(
            PYDANTIC,
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings; port; "
            "Input should be a valid integer; For further information visit "
            "https://errors.pydantic.dev/2.9/v/int_parsing",
            id="pydantic",
        ),
        pytest.param(ARGPARSE, "plugin.py: error: unrecognized arguments: --debug", id="argparse"),
        pytest.param(
            JAVA,
            "Caused by: java.lang.ArrayIndexOutOfBoundsException: "
            "Index 1 out of bounds for length 0",
            id="java",
        ),
        pytest.param(
            DOTNET,
            "Unhandled exception. System.InvalidOperationException: no disk",
            id="dotnet",
        ),
        pytest.param(RUBY, "plugin.rb:1:in 'Object#connect': no disk (RuntimeError)", id="ruby"),
        pytest.param(
            CPP,
            "terminate called after throwing an instance of 'std::runtime_error'; what():  no disk",
            id="c++",
        ),
        pytest.param(ENV_CRLF, r"/usr/bin/env: 'python3\r': No such file or directory", id="env"),
    ],
)
def test_the_cause_is_found_and_not_the_advice(printed, reason):
    lines = printed.splitlines()
    assert last_words(lines) == reason
    # Whatever it has said before does not matter.
    earlier = ["INFO p: hello", *NODE.splitlines(), "listening"]
    assert last_words([*earlier, *lines]) == reason


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], ""),
        (["", "  "], ""),
        (["one", " two ", ""], "two"),
        (["  at once"], "at once"),
        (["Enter passphrase: "], "Enter passphrase:"),
        (["ValueError: x", "INFO p: goodbye"], "INFO p: goodbye"),
        (["Traceback (most recent call last):", "ValueError: x", "", "no db"], "no db"),
        (["}"], "}"),
        (["Caused by:"], "Caused by:"),
        (["", "Caused by:", "    x"], "x"),
        (["error: unknown option -x", "(Did you mean -y?)"], "error: unknown option -x"),
        (["{", "}"], "}"),
    ],
)  # fmt: skip
def test_without_a_known_error_it_is_the_last_line_that_says_something(lines, reason):
    assert last_words(lines) == reason


@pytest.mark.parametrize("printed", [CPP, NODE_MEMORY, RUST, PYTHON])
def test_an_uncaught_error_can_be_told_from_other_words(printed):
    assert last_words(printed.splitlines(), only_errors=True)
    for others in ([], ["  "], ["shutting down"], ["error: a", "error: b"]):
        assert last_words(others, only_errors=True) == ""


def test_the_cause_is_found_before_a_long_dump():
    stacks = ["goroutine 6 [chan receive]:", "main.f(...)", "\t/src/m.go:3", ""] * 400
    assert last_words(["fatal error: all goroutines are asleep - deadlock!", "", *stacks]) == (
        "fatal error: all goroutines are asleep - deadlock!"
    )


def test_a_long_message_is_cut():
    words = last_words(["ValueError: x", *["y" * 1000] * 5])
    assert words.startswith("ValueError: x; yyy")
    assert len(words) < 500


@pytest.mark.parametrize(
    "line", ["  x", "}", "x(", "  x {", "  | " * 4000, "a." * 8000, "\t" * 16000, "A" * 16000]
)
def test_no_output_takes_long(line):
    began = time.process_time()
    last_words([line] * max(1, min(2000, 64_000 // len(line))))
    assert time.process_time() - began < 0.2


def test_where_python_cannot_read_on_is_told():
    lines = [
        "Traceback (most recent call last):",
        '  File "/p/main.py", line 1, in <module>',
        "    import other",
        '  File "/p/other.py", line 3',
        "    x = =",
        "        ^",
        "SyntaxError: invalid syntax",
    ]
    assert last_words(lines) == "SyntaxError: invalid syntax (/p/other.py:3)"
