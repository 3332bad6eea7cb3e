"""t-SNE that follows a model while it trains.

A fit from scratch takes seconds and lands somewhere else every time. Here the positions of the last refresh are the
start of the next: the affinities (who is whose neighbour) are rebuilt from the new codes, then a few gradient steps
move the old layout towards them. Point i stays point i, and clusters move where they used to jump.

That alone gets stuck: a few plain steps cannot gather points that the first layout has strewn all over, and the first
layout is that of an untrained model, whose neighbourhoods are noise. So the layout remembers the neighbourhoods that
its rough arrangement was made for, and once less than half of them is left it is heated again: a full fit, with early
exaggeration, from where the points are. This happens once. Codes that change as much later do so because somebody turns
a knob, and then the melting of the old layout is what there is to see. Exaggeration draws the points together; they are
shown at the size that the layout had before.

Source: van der Maaten and Hinton 2008 (t-SNE); Belkina et al. 2019 (learning rate N / exaggeration); Poličar et al.
2019 (openTSNE, which does the work: exact neighbours and Barnes-Hut gradients).
"""

from __future__ import annotations

import numpy as np

from ..errors import LabError

EXAGGERATION = 12          # of the attraction, in the first part of a full fit: gathers what belongs together
EARLY, LATE = 150, 300     # gradient steps of a full fit, with and without exaggeration
AGAIN = 100                # instead of EARLY when a layout is heated again in mid-training: seen sooner, and as good
SLICE, FOLLOW = 10, 6      # gradient steps in one update: while a full fit is going on, and otherwise
KEPT = 0.5                 # of the affinities, which sum to 1: with less left the rough arrangement is out of date


class LiveTSNE:
    """A 2-D t-SNE layout that is updated and not recomputed.

    The first :meth:`update` starts from the first two principal components and begins a full fit, which the next
    updates carry on slice by slice; so does :meth:`refit`, and so does, once, an update whose codes share less than
    half of their neighbourhoods with those that the layout was arranged for. An update of 1,000 points takes about
    60 ms on one core.

    Attributes:
        fits: how many full fits were begun.

    Args:
        perplexity: the effective number of neighbours; lowered to (N - 1) / 3 where there are few points.
        seed: of the tiny jitter that tells equal codes apart.
    """

    def __init__(self, perplexity: float = 30, *, seed: int = 0):
        self.perplexity, self.seed = perplexity, seed
        self._layout = None          # openTSNE's embedding, with the momentum of its gradient descent
        self._early = self._late = self.fits = 0
        self._arranged = None        # the affinities (points, points) that the early part of the last fit was made for
        self._fresh = True           # it has not been heated again by itself yet
        self._size = 0.0             # spread of the last layout that was settled
        self._jitter = np.empty((0, 0))

    @property
    def settled(self) -> bool:
        """True when no full fit is going on."""
        return self._layout is not None and not self._early and not self._late

    def refit(self) -> None:
        """Ask for a full fit. It starts from the present positions and is done in slices by the next updates."""
        self._early, self._late = EARLY, LATE
        self.fits += 1

    def update(self, codes) -> np.ndarray:
        """Take in new codes and move the layout a little.

        Args:
            codes: (points, dimensions); the same points in the same order every time. Another number of points
                starts the layout anew. Points whose code is not finite are put in the middle.

        Returns:
            positions (points, 2), float32.
        """
        codes = self._clean(codes)
        points = len(codes)
        if points < 6:                                   # too few for neighbourhoods: the plane itself
            self._layout, self._early, self._late = None, 0, 0
            return plane(codes).astype(np.float32)
        # A second of imports: only who looks at t-SNE waits for it.
        from openTSNE import TSNEEmbedding
        from openTSNE.affinity import PerplexityBasedNN
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            affinities = PerplexityBasedNN(codes, min(self.perplexity, (points - 1) / 3), method="exact", n_jobs=1)
            if self._layout is None or len(self._layout) != points:
                start, optimizer = plane(codes), None
                start *= 1e-4 / (start[:, 0].std() + 1e-300)
                self._size, self._fresh = 0.0, True
                self.refit()
            else:
                start, optimizer = np.array(self._layout), self._layout.optimizer
                if self._fresh and not self._early and affinities.P.minimum(self._arranged).sum() < KEPT:
                    self.refit()
                    self._early, self._fresh = AGAIN, False
            self._layout = TSNEEmbedding(start, affinities, negative_gradient_method="bh", n_jobs=1,
                                         **({"optimizer": optimizer} if optimizer else {}))
            if self._early:
                self._arranged = affinities.P
                self._early -= self._descend(min(SLICE, self._early), EXAGGERATION)
            elif self._late:
                self._late -= self._descend(min(SLICE, self._late), 1)
            else:
                self._descend(FOLLOW, 1)
        positions = np.array(self._layout, dtype=np.float32)
        size = float(positions.std())
        if self.settled:
            self._size = size
        elif 0 < size < self._size:
            positions *= self._size / size
        return positions

    def settle(self, codes) -> np.ndarray:
        """Update until a full fit is finished (about a second for 1,000 points): for pictures that stand still."""
        positions = self.update(codes)
        while self._early or self._late:
            positions = self.update(codes)
        return positions

    def _descend(self, steps, exaggeration):
        self._layout.optimize(steps, exaggeration=exaggeration, learning_rate="auto", momentum=0.8, inplace=True)
        return steps

    def _clean(self, codes):
        """Codes in double precision with spread 1, finite, and no two quite equal."""
        codes = np.array(codes, dtype=np.float64)
        if codes.ndim != 2:
            raise LabError(f"The codes for t-SNE have the shape {codes.shape}, but it must be (points, dimensions).")
        if not len(codes):
            return codes
        finite = np.isfinite(codes).all(axis=1)
        codes[~finite] = codes[finite].mean(axis=0) if finite.any() else 0
        codes -= codes.mean(axis=0)
        spread = np.abs(codes).max(initial=0)
        if spread > 0:
            codes /= spread                              # first: the square of a huge code is not finite
            codes /= codes.std()
        if self._jitter.shape != codes.shape:
            self._jitter = np.random.default_rng(self.seed).normal(0, 1e-4, codes.shape)
        return codes + self._jitter                      # the same at every update, so that nothing trembles


def plane(codes: np.ndarray) -> np.ndarray:
    """The first two principal components of codes (points, dimensions), as (points, 2); missing ones are 0."""
    codes = codes - codes.mean(axis=0, keepdims=True) if len(codes) else codes
    _, axes = np.linalg.eigh(codes.T @ codes)            # ascending eigenvalues
    scores = codes @ axes[:, ::-1][:, :2]
    return np.pad(scores, ((0, 0), (0, 2 - scores.shape[1])))
