"""The command that is traced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from fsession.cli.workload import Workload
from fsession.errors import BadInputError

STATUSES = [
    (["true"], 0),
    (["false"], 1),
    (["sh", "-c", "exit 7"], 7),
    (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
]


@pytest.mark.parametrize(("words", "status"), STATUSES)
def test_status(words, status):
    with Workload(words) as workload:
        workload.start()
        assert workload.wait() == status


def test_its_pid_is_known_before_it_runs(tmp_path):
    file = tmp_path / "pid"
    with Workload(["sh", "-c", f"echo $$ > {file}"]) as workload:
        assert not file.exists()
        workload.start()
        workload.wait()
        assert int(file.read_text()) == workload.pid


@pytest.mark.parametrize("name", ["no-such-command", "/etc", "/etc/passwd", "/no/such", "./"])
def test_no_such_command(name):
    with pytest.raises(BadInputError, match=f"there is no command '{name}'"):
        Workload([name])


def test_it_never_runs_if_it_is_not_started(tmp_path):
    file = tmp_path / "ran"
    with Workload(["touch", str(file)]) as workload:
        pass
    assert workload.status is not None
    assert not file.exists()


def test_it_is_ended_when_we_leave():
    with Workload(["sleep", "1000"]) as workload:
        workload.start()
    assert workload.status in (128 + signal.SIGTERM, 126)
    with pytest.raises(ProcessLookupError):
        os.kill(workload.pid, 0)


def test_what_can_not_be_executed(tmp_path, capfd):
    script = tmp_path / "script"
    script.write_text("no interpreter line\n")
    script.chmod(0o755)
    with Workload([str(script)]) as workload:
        workload.start()
        assert workload.wait() == 126
    assert "Exec format error" in capfd.readouterr().err


def test_name_is_the_kernel_s():
    with Workload(["/usr/bin/env", "true"]) as workload:
        assert workload.name == "env"


LIMITS = """
import resource, sys
from fsession.cli.files import allow_many
from fsession.cli.workload import Workload

allow_many()
print(resource.getrlimit(resource.RLIMIT_NOFILE), flush=True)
with Workload(["sh", "-c", "ulimit -S -n; ulimit -H -n"]) as workload:
    workload.start()
    workload.wait()
"""


def test_many_files_are_for_us_and_not_for_the_command():
    line = f'ulimit -S -n 300; ulimit -H -n 900; exec "{sys.executable}" -c "$1"'
    done = subprocess.run(
        ["sh", "-c", line, "sh", LIMITS], capture_output=True, text=True, check=True
    )
    assert done.stdout == "(900, 900)\n300\n900\n"
