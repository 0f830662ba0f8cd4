"""Runs commands on a full disk, and again with enough space."""

from experiments.torture import process
from experiments.torture.case import Case, refused, same
from experiments.torture.subject import difference

# Shares of what a command writes, as sizes of its disk.
_SHARES = {"training": (0.02, 0.3, 0.6, 0.9), "prune": (0.2, 0.7), "export": (0.1, 0.5)}


def cases(subject, rng, folder):
    """Runs each command on a disk that has room for a part of its output.

    Yields:
        `Case`.
    """
    if not process.small_disks():
        yield Case("all", "not run: this system does not allow mounting a disk", False)
        return
    for name, (command, expected) in subject.commands.items():
        needed = sum(path.stat().st_size for path in expected.rglob("*")) / 1024
        for share in _SHARES[name]:
            place = folder / f"{name}-{share}"
            place.mkdir()
            title = f"{name}, full at {share:.0%} of what it writes"
            ended = process.on_small_disk(command(place), place, int(share * needed))
            found = refused(title, ended, "There is no space left")
            yield found
            if found.right:
                ended = process.run(command(place))
                left = difference(place, expected) if not ended.code else ended.error
                yield same(f"{title}, then given room", left)
