"""Build the compiled core; everything else stands in pyproject.toml."""

import os
import shlex

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

NO_COMPILER = """\
vconnect's core is compiled from Cython and found no working C compiler ({error}).
  Debian, Ubuntu:  apt-get install gcc python3-dev
  Fedora, RHEL:    dnf install gcc python3-devel
  Alpine:          apk add gcc musl-dev python3-dev
  macOS:           xcode-select --install
Or install a wheel, which needs no compiler: pip install --only-binary vconnect vconnect"""


class BuildCore(build_ext):
    """Say what to install when there is no compiler, in place of a page of output."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except (CCompilerError, ExecError, PlatformError) as error:
            raise SystemExit(NO_COMPILER.format(error=error)) from error


# CFLAGS from the environment come last, so that a sanitizer build can override these.
COMPILE = ["-O2", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter"]
if os.environ.get("VCONNECT_WERROR"):
    COMPILE.append("-Werror")

setup(
    ext_modules=[
        Extension(
            "vconnect._framing",
            ["src/vconnect/_framing.pyx"],
            extra_compile_args=[*COMPILE, *shlex.split(os.environ.get("VCONNECT_CFLAGS", ""))],
            extra_link_args=shlex.split(os.environ.get("VCONNECT_LDFLAGS", "")),
        )
    ],
    cmdclass={"build_ext": BuildCore},
)
