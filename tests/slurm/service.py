"""A Slurm of its own: controller and node daemons on this machine, gone when the block ends.

Needs Debian's packages ``slurm-wlm`` and ``munge`` and no rights beyond those of the user. All that
it writes lies in one folder; nothing under ``/etc`` is read or changed.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
CONFIGURATION = """\
ClusterName=check
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=86400
"""
NODE = "NodeName=node{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"


def missing() -> list[str]:
    """Programs that are needed and not there."""
    return [name for name in PROGRAMS if not shutil.which(name, path=search_path())]


def search_path() -> str:
    """PATH with the folders of system programs, which a user's may lack."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _free_port() -> int:
    with socket.socket() as file:
        file.bind(("127.0.0.1", 0))
        return file.getsockname()[1]


def _memory() -> int:
    """Of this machine, MB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


class Slurm:
    """Running daemons.

    Parameters
    ----------
    folder : Path
        An empty folder for sockets, state and logs.
    nodes : int
        Nodes that share the machine's processors and memory evenly.

    Attributes
    ----------
    environment : dict
        For programs that are to find it.
    processors, memory : int
        Of a node; MB.
    """

    def __init__(self, folder: Path, nodes: int = 2):
        self.folder, self.nodes = folder, nodes
        self.processors = max(1, (os.cpu_count() or 1) // nodes)
        self.memory = int(0.9 * _memory()) // nodes
        configuration = folder / "slurm.conf"
        # a job's own srun keeps nothing of SLURM_*: what it finds on PATH has to tell it
        path = f"{folder / 'bin'}{os.pathsep}{search_path()}"
        self.environment = {**os.environ, "SLURM_CONF": str(configuration), "PATH": path}

    def __enter__(self) -> Slurm:
        folder, host = self.folder, socket.gethostname().partition(".")[0]
        for name in ("munge", "state", "bin"):
            (folder / name).mkdir(parents=True, mode=0o711)
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        words = {"host": host, "port": _free_port(), "user": getpass.getuser(), "folder": folder}
        lines = [CONFIGURATION.format(**words)]
        for number in range(1, self.nodes + 1):
            node = NODE.format(number=number, host=host, port=_free_port())
            lines.append(f"{node} CPUs={self.processors} RealMemory={self.memory}")
        lines.append("PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
        Path(self.environment["SLURM_CONF"]).write_text("\n".join(lines) + "\n")
        srun = folder / "bin" / "srun"
        real = shutil.which("srun", path=search_path())
        conf = self.environment["SLURM_CONF"]
        srun.write_text(f'#!/bin/sh\nSLURM_CONF="{conf}" exec {real} "$@"\n')
        srun.chmod(0o755)
        munge = {"key-file": key, "socket": folder / "munge" / "socket"}
        munge |= {n: folder / "munge" / n for n in ("pid-file", "log-file", "seed-file")}
        try:
            self._call("munged", "--force", *(f"--{n}={path}" for n, path in munge.items()))
            self._call("slurmctld", "-f", conf)
            for number in range(1, self.nodes + 1):
                self._call("slurmd", "-N", f"node{number}", "-f", conf)
            self._wait_for_nodes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _call(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")
        return done.stdout

    def _wait_for_nodes(self, seconds: int = 300) -> None:
        end = time.time() + seconds
        while time.time() < end:
            with contextlib.suppress(RuntimeError):
                if self._call("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * self.nodes:
                    return
            time.sleep(1)
        logs = "\n".join(p.read_text()[-2000:] for p in sorted(self.folder.glob("*.log")))
        raise RuntimeError(f"The nodes are not ready after {seconds} s:\n{logs}")

    def jobs(self) -> list[dict[str, str]]:
        """All jobs so far, the first first: id, rule, state, begin, end, seconds, node."""
        fields = {"id": "%i", "rule": "%k", "state": "%T", "begin": "%S", "end": "%e", "node": "%N"}
        said = self._call("squeue", "-h", "--states=all", "-o", "|".join(fields.values()))
        rows = [dict(zip(fields, line.split("|"), strict=True)) for line in said.splitlines()]
        for row in rows:
            row["rule"] = row["rule"].removeprefix("rule_").replace("_wildcards_", " ")
        return sorted(rows, key=lambda row: int(row["id"]))

    def cancel(self, job: str) -> None:
        """``scancel`` of a job."""
        self._call("scancel", job)

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self._call("scontrol", "shutdown")
        names = [*self.folder.glob("slurm*.pid"), self.folder / "munge" / "pid-file"]
        for name in names:
            with contextlib.suppress(OSError, ValueError):
                pid = int(name.read_text())
                _end(pid)


def _end(pid: int, seconds: int = 20) -> None:
    """End a process of ours, politely first."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
            for _ in range(10 * seconds):
                os.kill(pid, 0)
                time.sleep(0.1)
