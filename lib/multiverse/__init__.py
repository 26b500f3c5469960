"""Every open choice of the protocol as a specification: which conclusions survive all of them?

``choices``
    The open choices as written in ``params/multiverse.yml``, the specifications that they make,
    and the runs that hold them. No more than the settings is imported: the workflow reads it too.
``outcomes``
    Contrasts and verdicts of every specification, and what survives.
``panels``
    The specification curve.

After Steegen, Tuerlinckx, Gelman and Vanpaemel (2016), multiverse analysis, and Simonsohn, Simmons
and Nelson (2020), specification curve.
"""
