"""A refresh of the t-SNE map against fits from scratch: 1,000 codes of a trained VAE, one thread."""

from __future__ import annotations

from threadpoolctl import threadpool_limits

from dgmlab.experiments.vae import make_run
from dgmlab.widgets.tsne import LiveTSNE

NAME, TITLE, PER = "tsne", "A t-SNE map of 1,000 codes (ms; ratio to the warm refresh)", 1
POINTS = 1000


def _codes():
    run = make_run()
    for _ in run.steps(300):
        pass
    return run.model.encode(run.data.train.x[:POINTS])[0].detach().numpy()


def refresh():
    codes, live = _codes(), LiveTSNE()
    live.settle(codes)

    def work():
        live.update(codes)
    return work


def full_opentsne():
    from openTSNE import TSNE

    codes = _codes()

    def work():
        with threadpool_limits(1):
            TSNE(n_jobs=1, neighbors="exact", negative_gradient_method="bh").fit(codes)
    return work


def full_sklearn():
    from sklearn.manifold import TSNE

    codes = _codes()

    def work():
        with threadpool_limits(1):
            TSNE(n_jobs=1).fit_transform(codes)
    return work


CONTENDERS = {"dgmlab LiveTSNE refresh": refresh, "openTSNE full fit": full_opentsne,
              "scikit-learn full fit": full_sklearn}
