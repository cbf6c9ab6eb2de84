"""A real Slurm of one node on this machine, from Debian's packages: two processors, two made-up GPUs, loopback only.

`with Cluster(folder):` starts munged, slurmctld and slurmd and ends them again. It needs root, and writes
/etc/slurm/slurm.conf and gres.conf, where jobs look for them; it refuses to touch a Slurm that is there already.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

ETC = Path("/etc/slurm")
OURS = "# written by tests/slurm, removed when the test ends\n"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")

SLURM_CONF = """\
ClusterName=advdpnp
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MinJobAge=300
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=12000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
GRES_CONF = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"  # two files that every machine has


def why_not() -> str | None:
    """Why Slurm cannot be tried here, in one sentence, or None."""
    if os.geteuid() != 0:
        return "starting Slurm needs root: sudo make slurm-test, or read tests/slurm to try it by hand."
    conf = ETC / "slurm.conf"
    if conf.exists() and not conf.read_text().startswith(OURS):
        return f"{conf} is another Slurm's: this test sets up one of its own and touches no other."
    if not all(map(shutil.which, PROGRAMS)) and not shutil.which("apt-get"):
        return "Slurm is not installed, and this is not Debian: install slurmctld, slurmd and munge first."
    return None


def install() -> None:
    """Debian's packages, unless they are there. Starts no service."""
    if all(map(shutil.which, PROGRAMS)):
        return
    quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-qq"], check=True, **quiet)
    packages = ("slurm-wlm", "munge")
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], check=True, **quiet)


class Cluster:
    """The running daemons, by the process ids that they leave in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.host = socket.gethostname().partition(".")[0]

    def __enter__(self) -> "Cluster":
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        ETC.mkdir(exist_ok=True)
        settings = {"host": self.host, "folder": self.folder, "cpus": os.cpu_count()}
        (ETC / "slurm.conf").write_text(OURS + SLURM_CONF.format(**settings))
        (ETC / "gres.conf").write_text(OURS + GRES_CONF)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        own = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log",
               "seed-file": "munge.seed"}  # fmt: skip
        options = [f"--{name}={self.folder / file}" for name, file in own.items()]
        subprocess.run(["munged", "--force", *options], check=True)
        subprocess.run(["slurmctld", "-c", "-f", ETC / "slurm.conf"], check=True)
        subprocess.run(["slurmd", "-c", "-f", ETC / "slurm.conf"], check=True)
        for _ in range(100):
            done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True)
            if done.stdout.strip() in ("idle", "mixed"):
                return
            time.sleep(0.2)
        logs = "\n".join(path.read_text()[-1500:] for path in self.folder.glob("*.log"))
        raise RuntimeError(f"Slurm does not come up: {done.stdout} {done.stderr}\n{logs}")

    def __exit__(self, *_) -> None:
        for name in ("slurmd", "slurmctld", "munged"):
            note = self.folder / f"{name}.pid"
            if note.exists():
                stop(int(note.read_text()))
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink(missing_ok=True)


def stop(pid: int) -> None:
    """End one process that we started, and wait until it is gone."""
    for signal in (15, 9):
        for _ in range(50):
            try:
                os.kill(pid, signal)
            except ProcessLookupError:
                return
            time.sleep(0.1)
