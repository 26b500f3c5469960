"""Training of the trunk ``synthface`` on rendered faces (notebook ``00_pretraining``).

:mod:`~lib.pretraining.images` renders the people it learns, :mod:`~lib.pretraining.network` is
VGG-16 with batch normalisation, widened while it learns and folded when it is done,
:mod:`~lib.pretraining.training` trains it, :mod:`~lib.pretraining.probes` asks what it has learned
and :mod:`~lib.pretraining.shipping` writes it with its provenance.
"""
