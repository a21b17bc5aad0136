"""Which photos the batch of a step holds: a pure function of seed and step."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from occface_core.data.landmarks import eye_opening

# Lids this much of the face's size apart, or less: closed, or all but closed. One photo in forty.
CLOSED_EYES = 0.022


def number_people(identities: Sequence[str]) -> tuple[Int[np.ndarray, "N"], list[Int[np.ndarray, "A"]]]:
    """Who is on which photo: (N,) numbers, and the rows of each number's photos.

    A photo without an identity is taken for a person of its own.
    """
    names = [name or f"photo {row}" for row, name in enumerate(identities)]
    _, person = np.unique(names, return_inverse=True)
    order = np.argsort(person, kind="stable")
    return person, np.split(order, np.flatnonzero(np.diff(person[order])) + 1)


class PhotoDraw:
    """Draws the photos of a step: pairs of one person, then closed eyes, then what comes.

    What comes are consecutive slices of a fresh permutation per epoch. Of the pairs people are drawn, not
    photos: the few whose album is thick would otherwise be all there is. Closed eyes are rare in collections
    of photos, and a network that hardly ever sees them leaves a slit open, the likeliest answer.

    Args:
        identities: who is on each photo, "" where that is not known.
        points: (N,L,2) MediaPipe landmarks, at least 468.
        person_share, closed_eyes_share: the parts of a batch, see `BatchConfig`.
        seed: run seed.

    Attributes:
        person: (N,) number of the person on each photo.
    """

    def __init__(
        self,
        identities: Sequence[str],
        points: Float[np.ndarray, "N L 2"],
        *,
        person_share: float,
        closed_eyes_share: float,
        seed: int,
    ) -> None:
        self.person_share, self.closed_eyes_share, self.seed = person_share, closed_eyes_share, seed
        self.person, self.albums = number_people(identities)
        self.with_several = np.array([p for p, album in enumerate(self.albums) if len(album) > 1], dtype=int)
        self.closed = np.empty(0, dtype=int)
        if closed_eyes_share:
            self.closed = np.flatnonzero(eye_opening(points) < CLOSED_EYES)

    def __call__(self, step: int, count: int) -> Int[np.ndarray, "{count}"]:
        """Rows of the `count` photos of a step."""
        pairs = min(round(count * self.person_share / 2), count // 2) if len(self.with_several) else 0
        closed = round(count * self.closed_eyes_share) if len(self.closed) else 0
        closed = min(closed, count - 2 * pairs)
        alone = count - 2 * pairs - closed
        rows = [self._shuffled(np.arange(len(self.person)), step * alone, alone, stream=1)]
        if closed:
            rows.insert(0, self._shuffled(self.closed, step * closed, closed, stream=10))
        if pairs:
            people = self._shuffled(self.with_several, step * pairs, pairs, stream=5)
            rng = np.random.default_rng([self.seed, 6, step])
            rows = [rng.choice(self.albums[p], size=2, replace=False) for p in people] + rows
        return np.concatenate(rows)

    def _shuffled(self, pool: np.ndarray, start: int, count: int, *, stream: int) -> Int[np.ndarray, "C"]:
        """`count` places from `start` on of the pool, shuffled anew each time it has been gone through."""
        places = np.arange(start, start + count)
        epochs = places // len(pool)
        orders = {
            e: np.random.default_rng([self.seed, stream, int(e)]).permutation(len(pool))
            for e in np.unique(epochs)
        }
        chosen = [orders[e][p % len(pool)] for e, p in zip(epochs, places, strict=True)]
        return pool[np.array(chosen, dtype=np.int64)]
