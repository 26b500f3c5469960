"""Every open choice of the protocol as a specification: which conclusions survive all of them?

``choices``
    The open choices as written in ``params/multiverse.yml``, and the runs that their specifications
    need. No more than the settings is imported: the script behind ``make multiverse`` reads it too.
``runs``
    Which of these runs are there.
``outcomes``
    Contrasts and verdicts of every specification, and what survives.
``panels``
    The specification curve.

After Steegen, Tuerlinckx, Gelman and Vanpaemel (2016), multiverse analysis, and Simonsohn, Simmons
and Nelson (2020), specification curve.
"""
