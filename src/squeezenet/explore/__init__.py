"""The design space of section 5: trials named by their content, sweeps, a search, and what they came to.

>>> from squeezenet.explore.trial import Trial, costs                        # doctest: +SKIP
>>> costs(trial).macs                                                        # doctest: +SKIP
98304
"""
