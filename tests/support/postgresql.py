"""A PostgreSQL server of the tests' own, in a temporary folder, reached through a socket in it."""

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest


def binaries():
    """The folder of initdb and pg_ctl, the newest where there are several; None without one."""
    found = shutil.which("initdb")
    debian = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(debian, key=lambda path: int(path.parent.name), default=Path(found).parent if found else None)


class PostgreSQL:
    """``with PostgreSQL() as server``; skips the test where there is nothing to start."""

    def __enter__(self):
        self.binaries, self._numbers = binaries(), itertools.count()
        if self.binaries is None:
            pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        if find_spec("asyncpg") is None:
            pytest.skip("asyncpg is not installed (pip install -e '.[postgres]')")
        self.folder = Path(tempfile.mkdtemp(prefix="darkroom-pg-"))  # short, as a socket's path must be
        # It refuses to run as root. Debian's package brings an account.
        self.account = next(name for name in ("postgres", "nobody") if _known(name)) if os.geteuid() == 0 else None
        if self.account:
            shutil.chown(self.folder, self.account)
        try:
            self._run("initdb", "-D", self.data, "-U", "darkroom", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
            self.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(self, *_):
        self.stop("immediate")
        shutil.rmtree(self.folder)

    @property
    def data(self):
        return self.folder / "data"

    def start(self):
        options = f"-F -k {self.folder} -c listen_addresses= -c max_connections=20"
        self._run("pg_ctl", "start", "-w", "-D", self.data, "-o", options, "-l", self.folder / "log")

    def stop(self, mode="fast"):
        self._run("pg_ctl", "stop", "-D", self.data, "-m", mode)

    @contextlib.contextmanager
    def hang(self):
        """Let it accept connections and answer nothing."""
        server = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        processes = [server, *server.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def create_database(self):
        """Return the URL of a new, empty database."""
        name = f"test{next(self._numbers)}"
        self._run("createdb", "-h", self.folder, "-U", "darkroom", name)
        return f"postgresql+asyncpg://darkroom@/{name}?host={self.folder}"

    def _run(self, program, *arguments):
        subprocess.run(
            [self.binaries / program, *arguments],
            user=self.account,
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,  # pg_ctl's server would keep a pipe open
            timeout=60,
        )


def _known(name):
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False
