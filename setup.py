"""Build the compiled core; everything else stands in pyproject.toml."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NO_COMPILER = """\
vconnect's core is compiled from Cython and found no C compiler ({compiler}).
  Debian, Ubuntu:  apt-get install gcc python3-dev
  Fedora, RHEL:    dnf install gcc python3-devel
  Alpine:          apk add gcc musl-dev python3-dev
  macOS:           xcode-select --install
Or install a wheel, which needs no compiler: pip install PATH-TO-THE-WHEEL"""


class BuildCore(build_ext):
    """Say what to install when there is no compiler, in place of a page of output."""

    def build_extension(self, ext: Extension) -> None:
        """Compile, if there is something to compile with."""
        ext.cython_directives = {"linetrace": TRACE}
        command = getattr(self.compiler, "compiler_so", None)
        if command and shutil.which(command[0]) is None:
            raise SystemExit(NO_COMPILER.format(compiler=command[0]))
        super().build_extension(ext)


# CFLAGS from the environment come last, so that a sanitizer build can override these.
COMPILE = ["-O2", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter"]
if os.environ.get("VCONNECT_WERROR"):
    COMPILE.append("-Werror")

# Line by line tracing for `make coverage-cython`. It costs about half of the speed.
TRACE = bool(os.environ.get("VCONNECT_TRACE"))

# No function is looked up at its first call: `_spawn` makes some where nothing may be looked up.
LINK = ["-Wl,-z,now"] if sys.platform == "linux" else []

HEADERS = sorted(str(path) for path in Path("src").rglob("*.h"))

setup(
    ext_modules=[
        Extension(
            f"vconnect.{name}",
            [f"src/vconnect/{name.replace('.', '/')}.pyx"],
            depends=HEADERS,
            extra_compile_args=[*COMPILE, *shlex.split(os.environ.get("VCONNECT_CFLAGS", ""))],
            extra_link_args=LINK + shlex.split(os.environ.get("VCONNECT_LDFLAGS", "")),
            define_macros=[("CYTHON_TRACE_NOGIL", "1")] if TRACE else [],
        )
        for name in (
            "_names",
            "_framing",
            *(
                "wire._stream",
                "wire._charged",
                "wire._latency",
                "wire._inflight",
                "wire._fan_out",
                "wire._lane",
            ),
            "processes._spawn",
        )
    ],
    cmdclass={"build_ext": BuildCore},
)
