"""Files as disks, networks and editors damage them."""

import numpy as np


def corruptions(good, count, other=b"", until=None, seed=0):
    """Damaged copies: bits flipped, cut off, inserted, doubled, zeroed, overwritten, exchanged.

    With `other`, the beginning of another good file stands before the end of this one now and then;
    with `until`, only what lies before it is touched, but for cuts.
    """
    rng = np.random.default_rng(seed)
    until = until or len(good)
    for i in range(count):
        bad = bytearray(good)
        at, to = sorted(rng.integers(0, until, 2))
        match i % (7 if other else 6):
            case 0:
                bad[at] ^= 1 << int(rng.integers(8))
            case 1:
                del bad[int(rng.integers(0, len(good))) :]
            case 2:
                bad[at:at] = rng.bytes(1 + i % 7)
            case 3:
                bad[at:at] = bad[at:to]
            case 4:
                bad[at : to + 1] = bytes(to + 1 - at)
            case 5:
                bad[at : to + 1] = rng.bytes(to + 1 - at)
            case 6:
                bad[:at] = other[:at]
        if bytes(bad) != good:
            yield bytes(bad)
