from __future__ import annotations

import subprocess
import sys

LIMITED = """
import resource
from timonel.distro import processes
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1000))
processes.raise_file_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_server_may_open_as_many_files_as_it_can() -> None:
    found = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)

    assert found.stdout.split() == ["1000", "1000"]
