# One way to run things. Every target sets up what it needs first: a virtual environment in .venv
# and, where apt and root are at hand, Debian's packages.
.DEFAULT_GOAL := check
.PHONY: check format test test-unit test-kernel test-guest test-guests test-engine-arm64 demo bench \
        fuzz generate test-vm long soak setup-test clean

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON := $(BIN)/python
KERNEL ?= 7.2
ARCH   ?= x86_64
COUNT  ?= 100000
SOAK_S ?= 60

# Kernel and architecture of each guest of the matrix, as the kernel suite runs in them.
GUESTS := 6.1:x86_64 6.12:x86_64 7.0:x86_64 7.2:x86_64 7.3:x86_64 6.12:arm64 7.2:arm64

$(VENV)/.ready: pyproject.toml
	@echo "setting up $(VENV)"
	@python3 -m venv $(VENV)
	@$(PYTHON) -m pip install -q --upgrade 'pip>=25.1'
	@$(PYTHON) -m pip install -q --group dev -e .
	@touch $@

check: $(VENV)/.ready
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pytest -q tests/test_layers.py tests/test_exports.py

format: $(VENV)/.ready
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Everything: the README's command.
test: setup-test
	@$(PYTHON) scripts/guest_btf.py 7.2 >/dev/null
	@$(PYTHON) scripts/test_all.py

test-unit: setup-test
	@btf=$$($(PYTHON) scripts/guest_btf.py 7.2) && \
	    export FSESSION_UAPI_BTF=$$btf && $(BIN)/pytest -q -m "not kernel and not guest" && \
	    FSESSION_TEST_HOST=engine $(BIN)/pytest -q tests/kernel

test-kernel: setup-test
	@$(BIN)/pytest -q -m "kernel and not guest" --ignore=tests/kernel

test-guest: setup-test
	@$(PYTHON) scripts/test_guest.py $(KERNEL):$(ARCH)

# The kernel suite on the embedded engine, in an arm64 guest: two and a half minutes.
test-engine-arm64: setup-test
	@$(PYTHON) scripts/test_guest.py 7.2:arm64:engine

test-guests: setup-test
	@$(PYTHON) scripts/test_guest.py $(GUESTS)

# Guests themselves: streams, statuses, files, what goes wrong. Boots some forty kernels.
test-vm: setup-test
	@$(BIN)/pytest -q -m guest

# Ten minutes at the full rate of events, and 1,000 times attach and detach under load.
long: setup-test
	@$(PYTHON) scripts/long_runs.py $(KERNEL):$(ARCH)

demo: $(VENV)/.ready
	@scripts/packages.sh qemu
	@$(PYTHON) scripts/demo.py

bench: setup-test
	@scripts/packages.sh bench
	@$(PYTHON) -m pip install -q --group bench || echo "not installed: frida, for bench/engine.py"
	@$(PYTHON) bench/run.py
	@PYTHONPATH=scripts $(PYTHON) bench/lang.py
	@$(PYTHON) bench/verify.py
	@PYTHONPATH=scripts $(PYTHON) bench/engine.py

# Attach to every function of a kernel that is called safe, under load: make soak KERNEL=6.12.
soak: setup-test
	@$(PYTHON) -m fsession vm --kernel $(KERNEL) --arch $(ARCH) --memory 4096 --timeout 7200 \
	    --copy scripts/soak_attach.py:/soak.py -- python3 -u /soak.py $(SOAK_S)

# make fuzz COUNT=2000 takes half a minute.
fuzz: setup-test
	@$(PYTHON) fuzz/fuzz_obj.py --count $(COUNT)
	@$(PYTHON) fuzz/fuzz_btf.py --count $(COUNT)
	@$(PYTHON) fuzz/fuzz_engine.py --count $(COUNT)
	@$(PYTHON) fuzz/fuzz_engine.py --count $(COUNT) --short-lived
	@$(PYTHON) fuzz/fuzz_code.py --count $(COUNT)
	@$(PYTHON) fuzz/fuzz_recording.py --count $(COUNT)
	@$(PYTHON) fuzz/fuzz_lang.py --count $(COUNT)
	@$(PYTHON) fuzz/run_accepted.py --count $(COUNT)
	@$(PYTHON) fuzz/run_accepted.py --count $(COUNT) --tracing $$($(PYTHON) scripts/guest_btf.py 7.2)

# The constants and layouts of the kernel's ABI, from the BTF of Linux $(KERNEL).
generate: setup-test
	@$(PYTHON) scripts/generate.py --kernel $(KERNEL)

setup-test: $(VENV)/.ready
	@scripts/packages.sh qemu tools

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
