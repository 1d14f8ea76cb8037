"""How much memory a process takes, as the kernel has counted it."""

from pathlib import Path

MIB = 2**20


def resident(pid: int) -> int:
    """The bytes that the process holds in memory now."""
    return _counted(pid, "VmRSS")


def peak(pid: int) -> int:
    """The most bytes that it has held since `forget_peak`."""
    return _counted(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the peak begin again at what is held now [proc(5), clear_refs]."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _counted(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    return kilobytes * 1024
