# Two commands do everything: `make run` and `make test`. Each builds what it needs in .venv.
PYTHON ?= python3
# An environment may be so empty that it has no PATH.
export PATH ?= /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check

# The editable install is made again when what is compiled or declared has changed.
BUILT  := $(VENV)/.built
CORE   := pyproject.toml setup.py $(wildcard $(foreach kind,pyx pxd h,src/vconnect/*.$(kind) src/vconnect/*/*.$(kind)))

# The documentation as a site. The variable silences the theme's note about mkdocs 2.
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

# The sanitizer build has an environment of its own, so that no ordinary run ever loads it.
SANITIZE := .venv-sanitize
CHECKED  := $(wildcard tests/unit tests/vectors tests/fuzz)

.PHONY: machine machine-available attack soak run demo check test test-slow test-all lint docs bench sanitize wheel clean

$(VENV)/.made:
	@# Even Python 2 can run this line. A program that is not Python prints no "yes".
	@test yes = "$$('$(PYTHON)' -c 'import sys; print("yes" if sys.version_info >= (3, 11) else "no")' 2>/dev/null)" || \
		{ echo "vconnect needs Python 3.11 or newer, and PYTHON=$(PYTHON) is not one. Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@# Without the mark, what is there may be half made, by a Ctrl-C for example.
	'$(PYTHON)' -m venv --clear $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(BUILT): $(VENV)/.made $(CORE)
	$(PIP) install --group build
	VCONNECT_WERROR=1 $(PIP) install --no-build-isolation -e .
	@touch $@

$(VENV)/.test: $(BUILT)
	$(PIP) install --group test
	@touch $@

$(VENV)/.lint: $(BUILT)
	$(PIP) install --group lint --group test --group docs
	@touch $@

# A chat with plugins in three languages, which the browser shows.
run: $(BUILT)
	@$(BIN)/python -m examples.chat

# The same without a page: a host, and the commands that talk to it.
demo: $(BUILT)
	@$(BIN)/python examples/demo.py

# What an author runs after each change: under a minute.
check: $(VENV)/.test
	$(BIN)/python -m pytest -n auto -m "not slow and not integration and not fault and not machine"

# What needs no processes of its own runs on all processors, the rest alone.
test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto tests/unit tests/vectors
	$(BIN)/python -m pytest --ignore=tests/unit --ignore=tests/vectors

# What takes more than two seconds each, kills, floods and full disks. `make test` runs slow tests on
# one event loop, and leaves out what is marked as nightly.
test-slow: $(VENV)/.test
	TEST_ALL=1 $(BIN)/python -m pytest -m "slow or fault or nightly"

# The suite on every CPython from 3.11 on that is on the PATH or among pyenv's, each in its own
# environment.
test-all:
	@PATH="$(CURDIR)/.ci:$$PATH" interpreters | while read -r version program; do \
		$(MAKE) VENV=.venv-$$version PYTHON="$$program" test </dev/null || exit 1; \
	done

# Random kills under load, for as long as you like: make soak SECONDS=3600
SECONDS ?= 300
soak: $(VENV)/.test
	VCONNECT_SOAK_S=$(SECONDS) $(BIN)/python -m pytest -s tests/fault/test_soak.py

# A hostile plugin beside a good one, for so many seconds in each sandbox: make attack SECONDS=60
attack: $(VENV)/.test
	VCONNECT_ATTACK_S=$(SECONDS) $(BIN)/python -m pytest -s tests/fault/test_attacks.py

# What needs the controllers of cgroup v2 or a real systemd: in QEMU, on this machine's files.
MACHINE := tests/machine tests/fault/test_cgroups.py tests/integration/test_spawn.py
# Some of it only: make machine SELECT='systemd or spawn'
machine: $(VENV)/.test
	$(BIN)/python tests/machine/boot.py $(MACHINE) $(if $(SELECT),-k '$(SELECT)')

machine-available: $(VENV)/.test
	@$(BIN)/python tests/machine/boot.py --available

# Rivals that are not available here are left out, and the table says so.
$(VENV)/.bench: $(VENV)/.test
	-$(PIP) install --only-binary :all: --group bench
	@touch $@

bench: $(VENV)/.bench
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.supervision
	@$(BIN)/python -m benchmarks.isolation

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for plugin in examples/*/plugin.py examples/chat/plugins/*/plugin.py; do $(BIN)/mypy $$plugin || exit 1; done  # each is a module "plugin"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint src/vconnect
	$(BIN)/python -m mypy.stubtest vconnect._names vconnect._framing vconnect.wire._stream vconnect.wire._charged vconnect.wire._latency vconnect.wire._inflight vconnect.wire._fan_out vconnect.wire._lane vconnect.processes._spawn --allowlist .github/stubtest-allow.txt
	$(BIN)/lint-imports
	$(BIN)/codespell $$(git ls-files)
	$(BIN)/zizmor --offline --quiet .
	$(SITE) build --quiet

DOCS_PORT ?= 8000
docs: $(VENV)/.lint
	$(SITE) serve --dev-addr 127.0.0.1:$(DOCS_PORT)

$(SANITIZE)/.built: $(VENV)/.made $(CORE) $(wildcard src/vconnect/*.py src/vconnect/*/*.py)
	rm -rf build  # objects of another build must not end up in this one, nor these elsewhere
	$(BIN)/python -m venv $(SANITIZE)
	$(SANITIZE)/bin/python -m pip --quiet --disable-pip-version-check install --upgrade 'pip>=25.1'
	$(SANITIZE)/bin/python -m pip --quiet --disable-pip-version-check install --group test
	VCONNECT_CFLAGS="-fsanitize=address,undefined -fno-omit-frame-pointer -g -O1" \
	VCONNECT_LDFLAGS="-fsanitize=address,undefined" \
		$(SANITIZE)/bin/python -m pip --quiet --disable-pip-version-check install --force-reinstall --no-cache-dir .
	rm -rf build
	@touch $@

# Linux and gcc. Undefined behavior only prints by default; here it ends the run.
sanitize: $(SANITIZE)/.built
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 PYTHONMALLOC=malloc \
		$(SANITIZE)/bin/python -m pytest --timeout 300 $(CHECKED)

wheel: $(BUILT)
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) $(VENV)-* .run build dist src/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	rm -rf examples/dev-rust/target examples/bare-c/bare-c examples/bare-c/bare-c.dSYM
	rm -rf examples/chat/plugins/stats/target examples/chat/plugins/stats-c/stats examples/chat/plugins/stats-c/stats.dSYM
	find src -path src/vconnect/admin/page -prune -o \( -name "*.c" -o -name "*.so" -o -name "*.html" \) -exec rm -f {} +
	find . \( -name "$(VENV)*" -o -name .git \) -prune -o -name __pycache__ -prune -exec rm -rf {} +

# Python only: the compiled modules are not traced. Left out are tests that coverage itself fails:
# it is imported, writes files where the disk is full, complains where nothing can be made, sets
# what plugins inherit, and makes a hundred restarts too slow.
UNMEASURED := tests/unit/cli/test_process.py::test_help_loads_nothing_heavy tests/fault/test_shortages.py \
	tests/fault/test_state_faults.py::test_a_full_disk_is_told_once_and_plugins_go_on \
	tests/fault/test_logs.py::test_many_floods_at_once tests/fault/test_soak.py \
	tests/fault/test_guardian.py::test_what_systemd_addresses_to_the_guardian_is_the_hosts
.PHONY: coverage
coverage: $(VENV)/.test
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(addprefix --deselect ,$(UNMEASURED))
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# The compiled modules, in a copy that is built with line tracing: it must not replace the fast
# build of this directory.
TRACED := build/traced
.PHONY: coverage-cython
coverage-cython: $(VENV)/.made
	rm -rf $(TRACED) && mkdir -p $(TRACED)
	git ls-files -z | xargs -0 cp --parents -t $(TRACED)
	$(BIN)/python -m venv $(TRACED)/.venv
	cd $(TRACED) && $(PIP) install --upgrade 'pip>=25.1' && $(PIP) install --group build --group test
	cd $(TRACED) && VCONNECT_TRACE=1 $(PIP) install --no-build-isolation -e .
	cd $(TRACED) && $(BIN)/python -m coverage run --rcfile=.github/coverage-cython.ini \
		-m pytest tests/unit/wire tests/unit/test_framing.py tests/vectors tests/fuzz tests/integration/test_spawn.py
	cd $(TRACED) && $(BIN)/python -m coverage report --rcfile=.github/coverage-cython.ini
