"""Control groups of this process, versions 1 and 2: limits hold all the way up, so every ancestor is looked at."""

from collections.abc import Iterator
from pathlib import Path

from llmos.hardware.text_files import read_text

__all__ = ["cgroup_folders"]


def cgroup_folders(controller: str, root: Path) -> Iterator[Path]:
    """Folders under sys/fs/cgroup that may limit this process for a controller, from its own group up to the top one.

    Inside a container the own path may not exist below its mount; the mount itself is then the group and comes last.
    """
    base = root / "sys/fs/cgroup"
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(","):
            mounts = [base / names, base / controller]
        elif number == "0" and not names:
            mounts = [base]
        else:
            continue
        mount = next((folder for folder in mounts if folder.is_dir()), None)
        if mount is not None:
            yield from _upwards(mount, path)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for n in range(len(parts), -1, -1):
        folder = mount.joinpath(*parts[:n])
        if folder.is_dir():
            yield folder
